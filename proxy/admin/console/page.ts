import type { Operations } from "../operations.ts";
import type { Html } from "./html.ts";
import type { Visit } from "./log-in.ts";

/** What a page is made from. */
export interface PageRequest {
  readonly visit: Visit;
  /** The result of their last order, shown once. */
  readonly notice: string | undefined;
  readonly operations: Operations;
  readonly query: URLSearchParams;
  readonly now: number;
}

/** What parts of a page are made from. */
export type PageContext = Pick<PageRequest, "visit" | "operations" | "now">;

export type Page = (asked: PageRequest) => Html | Promise<Html>;

/** A form that a user has sent and may send. */
export interface FormRequest {
  readonly visit: Visit;
  readonly form: URLSearchParams;
  /** Of forms that take one (`boundsOf`). */
  readonly file: Buffer | undefined;
  /** Their IP address. */
  readonly address: string;
  readonly operations: Operations;
  readonly now: number;
}

export type FormResult =
  | { readonly kind: "page"; readonly status: number; readonly page: Html }
  | {
      /** To be saved; the browser stays on its page. */
      readonly kind: "file";
      readonly name: string;
      readonly contentType: string;
      readonly text: string;
    }
  | { readonly kind: "done"; readonly to: string; readonly notice: string };

export type Action = (ordered: FormRequest) => Promise<FormResult>;
