import { randomUUID } from "node:crypto";
import { z } from "zod";
import { SealedChannel, type SealedChannelOptions } from "../guard/sealed-channel.ts";
import type { BackendKey } from "../wire/backend-messages.ts";
import { processOf } from "./cancel.ts";

export interface CancelChannelOptions extends SealedChannelOptions {
  /** This process's number in the keys that it hands out. */
  readonly process: number;
  /** Does what a request asks that another process took; false for a key that is not known here. */
  readonly cancel: (request: BackendKey) => Promise<boolean>;
}

const PLACE = "cancel request";
/** A process that does not know the key says nothing: after so long nobody knew it. */
const ANSWER_MS = 3_000;

const messageSchema = z.union([
  z.object({
    /** To be named in the answer. */
    ask: z.string(),
    /** The number of the process to answer to. */
    from: z.number(),
    processId: z.number(),
    key: z.string(),
  }),
  z.object({ done: z.string() }),
]);
type Message = z.infer<typeof messageSchema>;

function channelOf(process: number): string {
  return `sluice:cancel:${process}`;
}

/** Brings CancelRequests home through the fleet's Redis: each process listens on a channel of its number. */
export class CancelChannel {
  readonly #options: CancelChannelOptions;
  readonly #channel: SealedChannel;
  readonly #asked = new Map<string, () => void>();

  constructor(options: CancelChannelOptions) {
    this.#options = options;
    this.#channel = new SealedChannel(options, PLACE, [channelOf(options.process)], (message) =>
      this.#receive(message),
    );
  }

  /** Resolves when the process that handed out this key has dealt with it; false when none has, or Redis is away. */
  async forward({ processId, key }: BackendKey): Promise<boolean> {
    const ask = randomUUID();
    let timer: NodeJS.Timeout | undefined;
    const answered = new Promise<boolean>((resolve) => {
      timer = setTimeout(() => resolve(false), ANSWER_MS);
      this.#asked.set(ask, () => resolve(true));
    });
    try {
      const from = this.#options.process;
      await this.#publish(processOf(processId), { ask, from, processId, key: key.toString("hex") });
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

  async #publish(process: number, message: Message): Promise<void> {
    await this.#channel.publish(channelOf(process), message);
  }

  async #receive(message: unknown): Promise<void> {
    const read = messageSchema.safeParse(message);
    // Of a proxy of another version.
    if (!read.success) return;
    if ("done" in read.data) {
      this.#asked.get(read.data.done)?.();
      return;
    }
    const { ask, from, processId, key } = read.data;
    if (!(await this.#options.cancel({ processId, key: Buffer.from(key, "hex") }))) return;
    await this.#publish(from, { done: ask }).catch(() => {});
  }
}
