/** The library's WebAssembly module as compiled, without the library's small wrapper around it. */
declare module "libpg-query/wasm/libpg-query.js" {
  /** Numbers are addresses in `HEAPU8`, which becomes another array when the memory has grown. */
  export interface PgQuery {
    readonly HEAPU8: Uint8Array;
    getValue(at: number, type: "i32"): number;
    _malloc(bytes: number): number;
    _free(at: number): void;
    /** Returns a PgQueryParseResult (pg_query.h): the tree's JSON, standard error, a PgQueryError. */
    _wasm_parse_query_raw(text: number): number;
    _wasm_free_parse_result(result: number): void;
    _wasm_normalize_query(text: number): number;
    _wasm_fingerprint(text: number): number;
    _wasm_scan(text: number): number;
    _wasm_free_string(text: number): void;
  }

  export default function instantiate(options: {
    instantiateWasm(imports: WebAssembly.Imports, receive: (instance: WebAssembly.Instance) => void): void;
  }): Promise<PgQuery>;
}

/** The part of WebAssembly's types used here; Node's types leave them to those of browsers. */
declare namespace WebAssembly {
  type Imports = object;
  class Module {
    constructor(bytes: Uint8Array);
  }
  class Instance {
    constructor(module: Module, imports: Imports);
  }
}
