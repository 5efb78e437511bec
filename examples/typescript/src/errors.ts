// What a failed call says, and what the contract asks for then.
import { BinaryReader } from "@bufbuild/protobuf/wire";
import { type ServiceError, status } from "@grpc/grpc-js";
import { ErrorDetail, ErrorReason } from "./generated/taskyard_api/v1/errors.js";

const LONGEST_PAUSE = 3_000;

export function isServiceError(error: unknown): error is ServiceError {
  return error instanceof Error && "code" in error && "metadata" in error;
}

/** What the server says of an error beside its code; an empty one when it says nothing. */
export function detailOf(error: ServiceError): ErrorDetail {
  const packed = error.metadata.get("grpc-status-details-bin")[0];
  // A google.rpc.Status: code = 1, message = 2, and details = 3, each a google.protobuf.Any.
  return (packed instanceof Buffer && readStatus(packed)) || ErrorDetail.create();
}

function readStatus(bytes: Uint8Array): ErrorDetail | undefined {
  for (const [field, any] of fieldsOf(bytes)) {
    if (field !== 3) continue;
    const parts = new Map(fieldsOf(any));
    const type = Buffer.from(parts.get(1) ?? []).toString();
    if (type.endsWith("/taskyard_api.v1.ErrorDetail")) return ErrorDetail.decode(parts.get(2) ?? new Uint8Array());
  }
  return undefined;
}

/** The fields of a message that have a length: texts, bytes, messages. */
function* fieldsOf(bytes: Uint8Array): Generator<[number, Uint8Array]> {
  const reader = new BinaryReader(bytes);
  while (reader.pos < reader.len) {
    const [field, type] = reader.tag();
    if (type === 2) yield [field, reader.bytes()];
    else reader.skip(type);
  }
}

/** Whether the same may be sent again. The reason decides; without one, the code does. */
export function mayRepeat(error: ServiceError): boolean {
  switch (detailOf(error).reason) {
    case ErrorReason.ERROR_REASON_OVERLOADED:
    case ErrorReason.ERROR_REASON_STORAGE_FULL:
    case ErrorReason.ERROR_REASON_STORAGE_UNAVAILABLE:
    case ErrorReason.ERROR_REASON_STOPPING:
      return true;
    case ErrorReason.ERROR_REASON_UNSPECIFIED:
      return error.code === status.UNAVAILABLE || error.code === status.DEADLINE_EXCEEDED;
    default:
      return false;
  }
}

/** Does something that may be repeated, until it succeeds or a repetition is of no use. */
export async function repeating<T>(attempt: () => Promise<T>): Promise<T> {
  for (let failures = 0; ; failures++) {
    try {
      return await attempt();
    } catch (error) {
      if (!isServiceError(error) || !mayRepeat(error)) throw error;
      await pause(error, failures);
    }
  }
}

/** Waits before the next attempt: as long as the server asks for, and a random part that grows with failures. */
export async function pause(error: ServiceError, failures: number): Promise<void> {
  const asked = Number(detailOf(error).retryAfterMs);
  const most = Math.max(asked, Math.min(LONGEST_PAUSE, 100 * 2 ** failures));
  // All peers are told the same delay; the random part keeps them from coming back at once.
  await new Promise((resolve) => setTimeout(resolve, asked + Math.random() * most));
}

/** An error for people, in one line. */
export function explain(error: unknown): string {
  if (!isServiceError(error)) return String(error instanceof Error ? error.message : error);
  const reason = detailOf(error).reason;
  return `${error.details} (${reason ? ErrorReason[reason] : status[error.code]})`;
}
