import { setTimeout } from "node:timers/promises";
import { Lost, StormClient } from "./client.ts";
import { emptyLedger, type Incident, type Ledger, type SessionRecord } from "./ledger.ts";
import { Refused, Session } from "./session.ts";
import { type Work, worksOf } from "./work.ts";
import { kindOf, userOf } from "./world.ts";

export interface LoadOptions {
  /** Where the proxies listen. */
  readonly ports: readonly number[];
  /** The numbers of the clients, from and up to. */
  readonly first: number;
  readonly end: number;
  /** How long a client pauses between two pieces of work, in the mean; milliseconds. */
  readonly pause: number;
}

/** Clients that come, work, are thrown out and come again until they are told to stop. */
export async function runLoad(options: LoadOptions, stop: AbortSignal): Promise<Ledger> {
  const ledger = emptyLedger();
  const clients: Promise<void>[] = [];
  for (let client = options.first; client < options.end; client++)
    clients.push(new Client(client, options, ledger, stop).live());
  await Promise.all(clients);
  return ledger;
}

class Client {
  readonly #number: number;
  readonly #options: LoadOptions;
  readonly #ledger: Ledger;
  readonly #stop: AbortSignal;
  readonly #user: string;
  readonly #works: readonly Work[];
  #opened = 0;
  #lastDone = performance.now();

  constructor(number: number, options: LoadOptions, ledger: Ledger, stop: AbortSignal) {
    this.#number = number;
    this.#options = options;
    this.#ledger = ledger;
    this.#stop = stop;
    this.#user = userOf(number);
    this.#works = worksOf(kindOf(this.#user));
  }

  async live(): Promise<void> {
    // They come one after the other, within a second.
    await setTimeout(Math.random() * 1_000);
    while (!this.#stop.aborted) {
      const client = await this.#connect();
      if (client === undefined) {
        await setTimeout(100 + Math.random() * 200);
        continue;
      }
      await this.#session(client.client, client.record);
      if (client.client.leak !== undefined) this.#ledger.leaks.push(client.client.leak);
      client.client.leave();
    }
    this.#gap();
  }

  async #connect(): Promise<{ client: StormClient; record: SessionRecord } | undefined> {
    const { ports } = this.#options;
    const port = ports[Math.floor(Math.random() * ports.length)] ?? 0;
    this.#opened++;
    const application = `storm-${this.#number}-${this.#opened}`;
    const record = {
      application,
      user: this.#user,
      answered: {},
      people: new Set<number>(),
      copied: new Set<number>(),
    };
    try {
      const client = await StormClient.open(port, this.#user, application);
      this.#ledger.opened++;
      if (kindOf(this.#user) !== "app") this.#ledger.sessions.push(record);
      return { client, record };
    } catch (error) {
      this.#incident("log-in", error);
      return undefined;
    }
  }

  async #session(client: StormClient, record: SessionRecord): Promise<void> {
    const session = new Session(client, this.#options.ports, this.#ledger, record);
    while (!this.#stop.aborted && !client.isLost) {
      const work = anyOf(this.#works);
      const began = performance.now();
      try {
        await work.run(session);
        this.#done(work, began);
        if (work.name === "leave" || work.name === "vanish") return;
      } catch (error) {
        this.#incident(work.name, error);
        // A small budget that is used up is how it should be.
        if (error instanceof Refused && error.code === "53400") this.#done({ name: "budget used up" }, began);
      }
      if (!client.isLost && client.status !== "I") {
        await session.run("ROLLBACK").catch((error: unknown) => this.#incident("ROLLBACK", error));
      }
      await setTimeout(Math.random() * 2 * this.#options.pause);
    }
  }

  #done({ name }: { readonly name: string }, began: number): void {
    const { done, times } = this.#ledger;
    done[name] = (done[name] ?? 0) + 1;
    if (Math.random() < 0.1) times.push(performance.now() - began);
    this.#gap();
  }

  #gap(): void {
    const now = performance.now();
    this.#ledger.longestGap = Math.max(this.#ledger.longestGap, now - this.#lastDone);
    this.#lastDone = now;
  }

  #incident(work: string, error: unknown): void {
    if (!(error instanceof Lost) && !(error instanceof Refused)) throw error;
    if (error.code === "53400") return;
    const incident: Incident = {
      time: Date.now(),
      code: error.code,
      lost: error instanceof Lost,
      work,
      text: error.message,
    };
    this.#ledger.incidents.push(incident);
  }
}

function anyOf(works: readonly Work[]): Work {
  let left = Math.random() * works.reduce((sum, { weight }) => sum + weight, 0);
  for (const work of works) {
    left -= work.weight;
    if (left < 0) return work;
  }
  throw new Error("no work");
}
