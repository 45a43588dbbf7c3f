import { closeMessage } from "../wire/frontend-messages.ts";

/** A statement that a client has prepared: what Parse holds behind the name, and what it is known by. */
export interface ClientStatement {
  /** Equal for statements that mean the same on any connection. */
  readonly key: string;
  /** The text, its zero, and the types of the parameters, as they came. */
  readonly body: Buffer;
  /** DEALLOCATE of this name: the server does not know it, and gets an empty statement. */
  readonly deallocates?: string;
}

/** As many are kept on a connection; each costs the server a plan. PgBouncer keeps 200 (max_prepared_statements). */
const MOST = 200;

/** The statements that one server connection has prepared, under names of our own: clients' names are many to one. */
export class ServerStatements {
  /** By key; the last one used comes last. */
  readonly #names = new Map<string, string>();
  /** Those whose Parse has not been answered, and in which of the holder's pipelines it was sent. */
  readonly #pending = new Map<ClientStatement["key"] | typeof UNNAMED, number>();
  #unnamed: ClientStatement | undefined;
  #serial = 0;

  /** The name under which the server has it, or will have. */
  find({ key }: ClientStatement): string | undefined {
    const name = this.#names.get(key);
    if (name === undefined) return undefined;
    this.#names.delete(key);
    this.#names.set(key, name);
    return name;
  }

  /** A name for one that is about to be prepared, and the Close messages of those that have to give way. */
  add(
    { key }: ClientStatement,
    pipeline: number,
  ): { readonly name: string; readonly closes: readonly Buffer[] } {
    const name = `sluice_${++this.#serial}`;
    this.#names.set(key, name);
    this.#pending.set(key, pipeline);
    const closes: Buffer[] = [];
    for (const [old, given] of this.#names) {
      if (this.#names.size <= MOST) break;
      this.#names.delete(old);
      closes.push(closeMessage({ target: "statement", name: given }));
    }
    return { name, closes };
  }

  /** The server has it as its unnamed one, or will have. */
  isUnnamed(statement: ClientStatement): boolean {
    return this.#unnamed === statement;
  }

  setUnnamed(statement: ClientStatement, pipeline: number): void {
    this.#unnamed = statement;
    this.#pending.set(UNNAMED, pipeline);
  }

  dropUnnamed(): void {
    this.#unnamed = undefined;
    this.#pending.delete(UNNAMED);
  }

  confirmUnnamed(): void {
    this.#pending.delete(UNNAMED);
  }

  /** It has been asked for, and may fail yet. */
  isPending({ key }: ClientStatement): boolean {
    return this.#pending.has(key);
  }

  /** It may fail or be skipped, and what is sent in this pipeline would not be skipped with it. */
  isUnsure(statement: ClientStatement, pipeline: number): boolean {
    const sent = this.#pending.get(this.isUnnamed(statement) ? UNNAMED : statement.key);
    return sent !== undefined && sent !== pipeline;
  }

  confirm({ key }: ClientStatement): void {
    this.#pending.delete(key);
  }

  /** It was not prepared after all, or must be prepared anew. */
  forget({ key }: ClientStatement): void {
    this.#names.delete(key);
    this.#pending.delete(key);
  }

  /** The server has none any more. */
  clear(): void {
    this.#names.clear();
    this.#pending.clear();
    this.#unnamed = undefined;
  }
}

const UNNAMED = Symbol("unnamed");
