import { type Answer, Lost, type StormClient } from "./client.ts";
import type { Ledger, SessionRecord } from "./ledger.ts";
import { isMaskedName, MASKED_EMAIL, regionOf } from "./world.ts";

/** An error that ends a piece of work; whether it may be is judged at the end, by what went on at that time. */
export class Refused extends Error {
  readonly code: string;

  constructor({ code, text }: NonNullable<Answer["error"]>) {
    super(text);
    this.code = code;
  }
}

export type Row = readonly (string | null)[];

/** A client at work, and the account of what it saw. */
export class Session {
  readonly client: StormClient;
  readonly ports: readonly number[];
  readonly #ledger: Ledger;
  readonly #record: SessionRecord;
  #marker = 0;

  constructor(client: StormClient, ports: readonly number[], ledger: Ledger, record: SessionRecord) {
    this.client = client;
    this.ports = ports;
    this.#ledger = ledger;
    this.#record = record;
  }

  /** A statement whose answer must be without an error. */
  async run(sql: string): Promise<Answer> {
    return this.finish(await this.client.query(sql));
  }

  finish(answer: Answer): Answer {
    if (answer.error !== undefined) throw new Refused(answer.error);
    return answer;
  }

  /** People as a guarded user sees them: id, name, email, region; exactly these, in this order. */
  async people(work: string, messages: Buffer, expected: readonly number[]): Promise<void> {
    const answer = await this.#receive(messages);
    this.finish(answer);
    this.answered(work);
    this.expect(work, ids(answer.rows), expected);
  }

  /** The same, where an error is what is expected: the rows before it were read all the same. */
  async peopleUntil(work: string, messages: Buffer, code: string): Promise<readonly number[]> {
    const answer = await this.#receive(messages);
    this.expectError(work, answer, code);
    return ids(answer.rows);
  }

  /** One more answer without an error, which must be in the audit log. */
  answered(work: string): void {
    const { answered } = this.#record;
    answered[work] = (answered[work] ?? 0) + 1;
  }

  copied(people: readonly number[]): void {
    for (const id of people) this.#record.copied.add(id);
  }

  expect(work: string, found: unknown, expected: unknown): void {
    const [a, b] = [JSON.stringify(found), JSON.stringify(expected)];
    if (a !== b) this.wrong(`${work}: ${a} in place of ${b}`);
  }

  expectError(work: string, { error }: Answer, code: string): void {
    if (error === undefined) this.wrong(`${work}: no error in place of ${code}`);
    else if (error.code !== code) throw new Refused(error);
  }

  checkMasked(work: string, [id, name, email, region]: Row): void {
    if (!isMaskedName(name) || email !== MASKED_EMAIL || region !== regionOf(Number(id)))
      this.wrong(`${work}: person ${id} looks like ${JSON.stringify([name, email, region])}`);
  }

  wrong(text: string): void {
    if (this.#ledger.wrong.length < 1_000) this.#ledger.wrong.push(`${this.#record.application}: ${text}`);
  }

  marker(): string {
    this.#marker++;
    return `${this.#record.application}.${this.#marker}`;
  }

  committed(...markers: readonly string[]): void {
    this.#ledger.committed.push(...markers);
  }

  rolledBack(marker: string): void {
    this.#ledger.rolledBack.push(marker);
  }

  async #receive(messages: Buffer): Promise<Answer> {
    try {
      const answer = await this.client.ask(messages);
      this.#note(answer);
      return answer;
    } catch (error) {
      if (error instanceof Lost) this.#note(error.partial);
      throw error;
    }
  }

  #note({ rows }: Answer): void {
    for (const row of rows) {
      this.checkMasked("a row", row);
      this.#record.people.add(Number(row[0]));
    }
  }
}

function ids(rows: readonly Row[]): readonly number[] {
  return rows.map(([id]) => Number(id));
}
