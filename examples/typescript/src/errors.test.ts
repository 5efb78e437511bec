import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { Metadata, type ServiceError, status } from "@grpc/grpc-js";
import { detailOf, mayRepeat } from "./errors.js";
import { ErrorReason } from "./generated/taskyard_api/v1/errors.js";

function failed(code: status, trailer?: Buffer): ServiceError {
  const metadata = new Metadata();
  if (trailer !== undefined) metadata.set("grpc-status-details-bin", trailer);
  return Object.assign(new Error("failed"), { code, details: "failed", metadata });
}

test("the detail of an error is read from its status", () => {
  const file = new URL("../../../tests/conformance/golden.json", import.meta.url);
  const messages = JSON.parse(readFileSync(file, "utf8")) as { name: string; hex: string }[];
  const stored = messages.find((golden) => golden.name === "error-status");
  assert.ok(stored);
  const error = failed(status.RESOURCE_EXHAUSTED, Buffer.from(stored.hex, "hex"));
  assert.equal(detailOf(error).reason, ErrorReason.ERROR_REASON_OVERLOADED);
  assert.equal(detailOf(error).retryAfterMs, 250n);
  assert.ok(mayRepeat(error));
});

test("without a detail the code decides", () => {
  assert.ok(mayRepeat(failed(status.UNAVAILABLE)));
  assert.ok(!mayRepeat(failed(status.UNAUTHENTICATED)));
  assert.ok(!mayRepeat(failed(status.RESOURCE_EXHAUSTED)));
});
