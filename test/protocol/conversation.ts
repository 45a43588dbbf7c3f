import { Ledger } from "../../proxy/protocol/ledger.ts";
import { Names } from "../../proxy/protocol/object-names.ts";
import { isUnasked, type Request } from "../../proxy/protocol/requests.ts";
import { decodeReadyForQuery } from "../../proxy/wire/backend-messages.ts";
import { FrameReader } from "../../proxy/wire/frames.ts";
import {
  decodeBind,
  decodeClose,
  decodeDescribe,
  decodeExecute,
  decodeParse,
  decodeQuery,
  type Target,
} from "../../proxy/wire/frontend-messages.ts";
import { Backend, Frontend } from "../../proxy/wire/messages.ts";

/** A request, and the text that its answer speaks of. */
interface Sent extends Request {
  readonly text?: string;
  readonly names?: { readonly portal: string; readonly statement: string };
  readonly of?: Target;
}

/** Feeds a ledger with the messages of a client and a server, and says which text each answer belongs to. */
export class Conversation {
  readonly ledger = new Ledger<Sent>();
  readonly #statements = new Names<string>();
  readonly #portals = new Names<string>();

  /** The client's messages, as they are sent. */
  sent(bytes: Buffer): void {
    const reader = new FrameReader(1 << 30, () => false);
    reader.push(bytes);
    while (reader.next()) this.#sent(reader);
  }

  #sent(frame: FrameReader): void {
    const { ledger } = this;
    switch (frame.type) {
      case Frontend.Query: {
        const { sqlStart, sqlEnd } = decodeQuery(frame);
        ledger.sent({ kind: "query", text: frame.buffer.toString("utf8", sqlStart, sqlEnd) });
        break;
      }
      case Frontend.Parse: {
        const { statement, sqlStart, sqlEnd } = decodeParse(frame);
        const text = frame.buffer.toString("utf8", sqlStart, sqlEnd);
        ledger.sent({ kind: "parse", text, names: { portal: "", statement } });
        break;
      }
      case Frontend.Bind:
        ledger.sent({ kind: "bind", names: decodeBind(frame) });
        break;
      case Frontend.Describe:
        ledger.sent({ kind: "describe", of: decodeDescribe(frame) });
        break;
      case Frontend.Execute:
        ledger.sent({ kind: "execute", names: { portal: decodeExecute(frame).portal, statement: "" } });
        break;
      case Frontend.Close:
        ledger.sent({ kind: "close", of: decodeClose(frame) });
        break;
      case Frontend.FunctionCall:
        ledger.sent({ kind: "functionCall" });
        break;
      case Frontend.Sync:
        ledger.sent({ kind: "sync" });
        break;
      case Frontend.Flush:
        ledger.flushSent();
        break;
      case Frontend.CopyDone:
      case Frontend.CopyFail:
        ledger.copyEndSent();
        break;
    }
  }

  /** A message of the server's: the text that it must speak of, if it speaks of any. Throws if nobody asked for it. */
  received(type: number, bytes: Buffer): string | undefined {
    const { ledger } = this;
    if (isUnasked(type)) return undefined;
    if (type === Backend.ErrorResponse) {
      const { head } = ledger;
      const text = head && this.#textOf(head);
      ledger.failed();
      return text;
    }
    if (type === Backend.ReadyForQuery) {
      const frame = { type, buffer: bytes, start: 0, end: bytes.length, piece: "whole" } as const;
      ledger.ready(decodeReadyForQuery(frame));
      return undefined;
    }
    const request = ledger.expect(type);
    const text = this.#textOf(request);
    this.#confirm(request, type);
    ledger.answered(type);
    return text;
  }

  #textOf({ kind, text, names, of }: Sent): string | undefined {
    if (kind === "describe")
      return of?.target === "statement" ? this.#statements.get(of.name) : this.#portals.get(of?.name ?? "");
    return kind === "execute" ? this.#portals.get(names?.portal ?? "") : text;
  }

  #confirm({ text, names, of }: Sent, type: number): void {
    if (type === Backend.ParseComplete) this.#statements.set(names?.statement ?? "", text ?? "");
    if (type === Backend.BindComplete) {
      this.#portals.set(names?.portal ?? "", this.#statements.get(names?.statement ?? "") ?? "");
    }
    if (type === Backend.CloseComplete && of !== undefined) {
      (of.target === "statement" ? this.#statements : this.#portals).delete(of.name);
    }
  }
}
