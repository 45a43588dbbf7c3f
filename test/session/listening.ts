import type { Account, Batch, CounterStore, Grant } from "../../proxy/meter/meter.ts";
import { createMemoryStore } from "../../proxy/meter/store-memory.ts";

/** A memory store that keeps what it was asked. */
export class Listening implements CounterStore {
  readonly asked: Batch[] = [];
  readonly ready = true;
  readonly #inner = createMemoryStore();

  async charge(account: Account, batch: Batch): Promise<Grant> {
    this.asked.push(batch);
    return this.#inner.charge(account, batch);
  }

  async close(): Promise<void> {}

  /** All that was charged, in units. */
  get units(): number {
    return this.asked.reduce((sum, { units = [] }) => sum + units.reduce((a, b) => a + b, 0), 0);
  }

  /** Who was charged by name. */
  get named(): readonly string[] {
    return this.asked.flatMap(({ people }) => people).filter((each) => each !== "");
  }
}
