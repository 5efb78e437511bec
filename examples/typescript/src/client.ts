// A client of the control plane: what its calls have in common, each as a promise.
import { randomBytes } from "node:crypto";
import { userInfo } from "node:os";
import { type ClientReadableStream, credentials, Metadata, type ServiceError, status } from "@grpc/grpc-js";
import { detailOf, isServiceError, mayRepeat, pause, repeating } from "./errors.js";
import { ErrorReason } from "./generated/taskyard_api/v1/errors.js";
import {
  type CancelRunResponse,
  CancelRunRequest,
  NewRun,
  type Run,
  RunServiceClient,
  SubmitRunsRequest,
  type SubmitRunsResponse,
  TailRunLogsRequest,
  type TailRunLogsResponse,
  WaitRunRequest,
  type WaitRunResponse,
  WatchRunsRequest,
  type WatchRunsResponse,
} from "./generated/taskyard_api/v1/run_service.js";
import type { LogBatch, RefusedRun } from "./generated/taskyard_api/v1/session_service.js";
import { RunKind, type RunState } from "./generated/taskyard_api/v1/states.js";

export const JSON_PLAIN = "json/plain";
/** What every peer must be able to receive; gRPC's own limit is 4 MiB. */
const FRAME_BYTES = 16 * 1024 * 1024;
const WAIT_MS = 30_000;
/** What a call may take, beyond what it was asked to wait. */
const PATIENCE_MS = 10_000;

/** A run that the server did not take. */
export class Refused extends Error {
  constructor(refused: RefusedRun) {
    super(`${refused.message} (${ErrorReason[refused.error?.reason ?? 0]})`);
  }
}

export interface Submission {
  task: string;
  queue: string;
  args: unknown[];
  /** A Python function to call instead of a task by name: "module:name". */
  reference?: string;
  maxRetries?: number;
}

export class Taskyard {
  readonly #runs: RunServiceClient;

  constructor(address: string) {
    this.#runs = new RunServiceClient(address, credentials.createInsecure(), {
      "grpc.max_receive_message_length": FRAME_BYTES,
      "grpc.max_send_message_length": FRAME_BYTES,
      "grpc.enable_retries": 0, // what may be repeated is repeated here
      "grpc.initial_reconnect_backoff_ms": 100,
      "grpc.max_reconnect_backoff_ms": 2_000,
    });
  }

  close(): void {
    this.#runs.close();
  }

  /** Submits a run and returns its id, which makes the call one that may be repeated. */
  async submit({ task, queue, args, reference, maxRetries = 0 }: Submission): Promise<Buffer> {
    const run = NewRun.fromPartial({
      runId: newId(),
      template: {
        kind: RunKind.RUN_KIND_TASK,
        name: task,
        taskKey: task,
        queue,
        code: reference === undefined ? { taskName: task } : { reference },
        encoding: JSON_PLAIN,
        retry: { maxRetries },
      },
      args: { encoding: JSON_PLAIN, data: Buffer.from(JSON.stringify({ args, kwargs: {} })) },
    });
    const request = SubmitRunsRequest.fromPartial({ runs: [run] });
    const response = await this.#call<SubmitRunsResponse>(PATIENCE_MS, (...rest) =>
      this.#runs.submitRuns(request, ...rest),
    );
    const [refused] = response.refused;
    if (refused !== undefined) throw new Refused(refused);
    return run.runId;
  }

  /** Waits until a run has ended; one call waits for a minute at most. */
  async wait(runId: Buffer): Promise<Run> {
    const request = WaitRunRequest.fromPartial({ runId, timeoutMs: BigInt(WAIT_MS) });
    for (;;) {
      const { run } = await this.#call<WaitRunResponse>(WAIT_MS + PATIENCE_MS, (...rest) =>
        this.#runs.waitRun(request, ...rest),
      );
      if (run !== undefined && hasEnded(run.state)) return run;
    }
  }

  /** Yields some runs as they are and at each change, until all of them have ended. */
  async *watch(runIds: Buffer[]): AsyncGenerator<Run> {
    const open = new Set(runIds.map((id) => id.toString("hex")));
    const request = WatchRunsRequest.fromPartial({ filter: { runIds } });
    for await (const message of this.#follow<WatchRunsResponse>(
      () => this.#runs.watchRuns(request),
      // What was missed is in what the watch begins with when it has no token.
      () => (request.resumeToken = ""),
    )) {
      yield* message.runs;
      request.resumeToken = message.resumeToken;
      for (const run of message.runs) if (hasEnded(run.state)) open.delete(run.runId.toString("hex"));
      if (open.size === 0) return;
    }
  }

  /** Yields the log of a run as it grows, until it is complete. */
  async *logs(runId: Buffer): AsyncGenerator<LogBatch> {
    const request = TailRunLogsRequest.fromPartial({ runId });
    for await (const message of this.#follow<TailRunLogsResponse>(() => this.#runs.tailRunLogs(request))) {
      if (message.logs !== undefined) yield message.logs;
      request.pageToken = message.nextPageToken;
      if (message.complete) return;
    }
  }

  /** Asks for the end of a run; to ask twice is to ask once. */
  async cancel(runId: Buffer, reason: string): Promise<RunState> {
    const request = CancelRunRequest.fromPartial({ runId, reason, requestedBy: userInfo().username });
    const response = await this.#call<CancelRunResponse>(PATIENCE_MS, (...rest) =>
      this.#runs.cancelRun(request, ...rest),
    );
    return response.state;
  }

  /** Makes a call that may be repeated, as often as it takes. */
  #call<Response>(
    milliseconds: number,
    call: (
      metadata: Metadata,
      options: { deadline: number },
      callback: (error: ServiceError | null, response: Response) => void,
    ) => unknown,
  ): Promise<Response> {
    return repeating(
      () =>
        new Promise<Response>((resolve, reject) => {
          call(new Metadata(), { deadline: Date.now() + milliseconds }, (error, response) =>
            error ? reject(error) : resolve(response),
          );
        }),
    );
  }

  /** Yields the messages of one stream after the other; each goes on where the one before was lost. */
  async *#follow<Message>(
    open: () => ClientReadableStream<Message>,
    startAgain?: () => void,
  ): AsyncGenerator<Message, void, undefined> {
    for (let failures = 0; ; failures++) {
      const stream = open();
      try {
        for await (const message of messagesOf(stream)) {
          failures = 0;
          yield message;
        }
        throw new Error("the server ended the stream");
      } catch (error) {
        if (!isServiceError(error)) throw error;
        const expired = detailOf(error).reason === ErrorReason.ERROR_REASON_WATCH_EXPIRED;
        if (expired && startAgain !== undefined) startAgain();
        else if (mayRepeat(error)) await pause(error, failures);
        else throw error;
      } finally {
        stream.cancel();
      }
    }
  }
}

/** Yields the messages of a stream until it ends, and throws why when that is an error. */
async function* messagesOf<Message>(stream: ClientReadableStream<Message>): AsyncGenerator<Message> {
  const received: Message[] = [];
  let ended: { error?: ServiceError } | undefined;
  let wake = (): void => {};
  stream.on("data", (message: Message) => {
    received.push(message);
    stream.pause(); // until somebody asks for the next one
    wake();
  });
  // Listened to for as long as the stream lives: it may break, or be cancelled, while nobody reads.
  stream.on("error", (error: ServiceError) => {
    ended = { error };
    wake();
  });
  stream.on("status", ({ code }) => {
    if (code === status.OK) ended ??= {};
    wake();
  });
  for (;;) {
    const message = received.shift();
    if (message !== undefined) {
      yield message;
    } else if (ended !== undefined) {
      if (ended.error !== undefined) throw ended.error;
      return;
    } else {
      const told = new Promise<void>((resolve) => (wake = resolve));
      stream.resume();
      await told;
    }
  }
}

/** Whether a state is never left. There will be new ones of both kinds. */
export function hasEnded(state: number): boolean {
  return state >= 100;
}

/** A UUID of version 7 whose last two bytes name the shard: 0, unless the server has told of others. */
export function newId(): Buffer {
  const id = randomBytes(16);
  id.writeUIntBE(Date.now(), 0, 6);
  id[6] = 0x70 | (id[6]! & 0x0f);
  id[8] = 0x80 | (id[8]! & 0x3f);
  id.writeUInt16BE(0, 14);
  return id;
}

export function formatId(id: Buffer): string {
  return id.toString("hex").replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, "$1-$2-$3-$4-$5");
}

export function parseId(text: string): Buffer {
  if (!/^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i.test(text)) throw new Error(`"${text}" is not the id of a run`);
  return Buffer.from(text.replaceAll("-", ""), "hex");
}
