import { randomUUID } from "node:crypto";
import { z } from "zod";
import type { BackendKey } from "../wire/backend-messages.ts";
import { SealedChannel, type SealedChannelOptions } from "./sealed-channel.ts";

export interface CancelChannelOptions extends SealedChannelOptions {
  /** Handles a request that another process received; false if the key is not known here. */
  readonly cancel: (request: BackendKey) => Promise<boolean>;
}

const PLACE = "cancel request";
/** A process that does not know the key does not answer: after this time none knew it. In milliseconds. */
const ANSWER_MS = 3_000;

const messageSchema = z.union([
  z.object({
    /** Repeated in the answer. */
    ask: z.string(),
    /** Where to answer the asking process. */
    from: z.string(),
    processId: z.number(),
    key: z.string(),
  }),
  z.object({ done: z.string() }),
]);
type Message = z.infer<typeof messageSchema>;

/** The channel on which all processes are asked. */
const ASKED = "sluice:cancel";

function answersTo(process: string): string {
  return `${ASKED}:${process}`;
}

/** Delivers CancelRequests over the fleet's Redis: all processes are asked, and the one that knows the key answers. */
export class CancelChannel {
  readonly #options: CancelChannelOptions;
  readonly #channel: SealedChannel;
  readonly #asked = new Map<string, () => void>();
  readonly #process = randomUUID();

  constructor(options: CancelChannelOptions) {
    this.#options = options;
    this.#channel = new SealedChannel(options, PLACE, [ASKED, answersTo(this.#process)], (message) =>
      this.#receive(message),
    );
  }

  /** True once the process that issued this key has handled it; false if none has, or if Redis is unreachable. */
  async forward({ processId, key }: BackendKey): Promise<boolean> {
    const ask = randomUUID();
    let timer: NodeJS.Timeout | undefined;
    const answered = new Promise<boolean>((resolve) => {
      timer = setTimeout(() => resolve(false), ANSWER_MS);
      this.#asked.set(ask, () => resolve(true));
    });
    try {
      const from = this.#process;
      await this.#channel.publish(ASKED, {
        ask,
        from,
        processId,
        key: key.toString("hex"),
      } satisfies Message);
      return await answered;
    } catch {
      return false;
    } finally {
      clearTimeout(timer);
      this.#asked.delete(ask);
    }
  }

  close(): void {
    this.#channel.close();
  }

  async #receive(message: unknown): Promise<void> {
    const read = messageSchema.safeParse(message);
    // From a proxy of another version.
    if (!read.success) return;
    if ("done" in read.data) {
      this.#asked.get(read.data.done)?.();
      return;
    }
    const { ask, from, processId, key } = read.data;
    if (!(await this.#options.cancel({ processId, key: Buffer.from(key, "hex") }))) return;
    await this.#channel.publish(answersTo(from), { done: ask } satisfies Message).catch(() => {});
  }
}
