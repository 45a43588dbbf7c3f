import { NAME_BYTES } from "../protocol/most-named.ts";

/** A statement that a client has prepared: what Parse holds behind the name, and what it is known by. */
export interface ClientStatement {
  /** Equal for statements that mean the same on any connection. */
  readonly key: string;
  /** The text, its zero, and the types of the parameters, as they came. */
  readonly body: Buffer;
  /** When the client has prepared it, by `nextParse`. */
  readonly since: number;
  /** DEALLOCATE of this name: the server does not know it, and gets an empty statement. */
  readonly deallocates?: string;
}

/** Bytes that a client's statement holds. */
export function weightOfStatement({ body, key }: ClientStatement): number {
  return NAME_BYTES + body.length + key.length;
}

interface Prepared {
  readonly name: string;
  /** By `nextParse`: all that was defined before the client's Parse it knows, if it is not older than that. */
  readonly at: number;
}

let parses = 0;

/** The time of a client's Parse: later ones have greater numbers. */
export function nextParse(): number {
  return ++parses;
}

/** As many are kept on a connection; each costs the server a plan. PgBouncer keeps 200 (max_prepared_statements). */
const MOST = 200;

/** The statements that one server connection has prepared, under names of our own: clients' names are many to one. */
export class ServerStatements {
  /** By key; the last one used comes last. */
  readonly #names = new Map<string, Prepared>();
  /** Names that the server still has, and nobody wants. */
  #unwanted: string[] = [];
  /** Those whose Parse has not been answered, and in which of the holder's pipelines it was sent. */
  readonly #pending = new Map<ClientStatement["key"], { readonly name: string; readonly pipeline: number }>();
  #unnamedPending: number | undefined;
  #unnamed: ClientStatement | undefined;
  #serial = 0;

  /**
   * The name under which the server has it, or will have. One that another client has prepared before this one has does not
   * count: types of its parameters may have been others then.
   */
  find({ key, since }: ClientStatement): string | undefined {
    const prepared = this.#names.get(key);
    if (prepared === undefined || prepared.at < since) return undefined;
    this.#names.delete(key);
    this.#names.set(key, prepared);
    return prepared.name;
  }

  /** A name for one that is about to be prepared, and those that have to give way. */
  add(
    { key }: ClientStatement,
    pipeline: number,
  ): { readonly name: string; readonly closes: readonly string[] } {
    this.#drop(key);
    const name = `sluice_${++this.#serial}`;
    this.#names.set(key, { name, at: parses });
    this.#pending.set(key, { name, pipeline });
    for (const old of this.#names.keys()) {
      if (this.#names.size <= MOST) break;
      this.#drop(old);
    }
    const closes = this.#unwanted;
    this.#unwanted = [];
    return { name, closes };
  }

  /** It was not closed after all. */
  keepUnwanted(name: string): void {
    this.#unwanted.push(name);
  }

  /** The server has it as its unnamed one, or will have. */
  isUnnamed(statement: ClientStatement): boolean {
    return this.#unnamed === statement;
  }

  setUnnamed(statement: ClientStatement, pipeline: number): void {
    this.#unnamed = statement;
    this.#unnamedPending = pipeline;
  }

  dropUnnamed(): void {
    this.#unnamed = undefined;
    this.#unnamedPending = undefined;
  }

  confirmUnnamed(statement: ClientStatement): void {
    if (this.isUnnamed(statement)) this.#unnamedPending = undefined;
  }

  /** Some Parse has not been answered. */
  get arePending(): boolean {
    return this.#unnamedPending !== undefined || this.#pending.size > 0;
  }

  /** It may fail or be skipped, and what is sent in this pipeline would not be skipped with it. */
  isUnsure(statement: ClientStatement, pipeline: number): boolean {
    const sent = this.isUnnamed(statement)
      ? this.#unnamedPending
      : this.#pending.get(statement.key)?.pipeline;
    return sent !== undefined && sent !== pipeline;
  }

  /** The Parse that gave it this name has succeeded. One that was sent later may fail yet. */
  confirm({ key }: ClientStatement, name: string): void {
    if (this.#pending.get(key)?.name === name) this.#pending.delete(key);
  }

  /** It must be prepared again. */
  renew({ key }: ClientStatement): void {
    if (!this.#pending.has(key)) this.#drop(key);
  }

  /** It was not prepared after all under this name. */
  forget({ key }: ClientStatement, name: string): void {
    if (this.#names.get(key)?.name === name) this.#names.delete(key);
    if (this.#pending.get(key)?.name === name) this.#pending.delete(key);
  }

  /** The server has none any more. */
  clear(): void {
    this.#names.clear();
    this.#unwanted = [];
    this.#pending.clear();
    this.dropUnnamed();
  }

  #drop(key: string): void {
    const prepared = this.#names.get(key);
    if (prepared === undefined) return;
    this.#names.delete(key);
    this.#unwanted.push(prepared.name);
  }
}
