import type { Operations } from "../operations.ts";
import type { Html } from "./html.ts";
import type { Visit } from "./log-in.ts";

/** What a page is made from. */
export interface Asked {
  readonly visit: Visit;
  /** The result of their last order, shown once. */
  readonly notice: string | undefined;
  readonly operations: Operations;
  readonly query: URLSearchParams;
  readonly now: number;
}

export type Page = (asked: Asked) => Html | Promise<Html>;

/** A form that a user has sent and may send. */
export interface Ordered {
  readonly visit: Visit;
  readonly form: URLSearchParams;
  /** Of forms that take one (`boundsOf`). */
  readonly file: Buffer | undefined;
  /** Their IP address. */
  readonly address: string;
  readonly operations: Operations;
  readonly now: number;
}

export type Outcome =
  | { readonly kind: "page"; readonly status: number; readonly page: Html }
  | {
      /** To be saved; the browser stays on its page. */
      readonly kind: "file";
      readonly name: string;
      readonly contentType: string;
      readonly text: string;
    }
  | { readonly kind: "done"; readonly to: string; readonly notice: string };

export type Action = (ordered: Ordered) => Promise<Outcome>;
