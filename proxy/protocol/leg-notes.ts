import type { Request, RequestKind } from "./requests.ts";

/** What a leg notes of a request that it passes on: it is told how that has ended. */
export interface LegNote {
  /** It has been answered to its end. */
  done(): void;
  /** It has failed, or, if `hasFailed` is false, was never done: skipped, or lost with its connection. */
  undone(hasFailed: boolean): void;
}

/** A request of the session's, with what its leg has noted of it. */
export class Noted<R extends Request> {
  readonly request: R;
  readonly note: LegNote;

  constructor(request: R, note: LegNote) {
    this.request = request;
    this.note = note;
  }
}

/** What a leg asks by itself. The session neither sees it nor its answer. */
export abstract class OwnRequest implements Request, LegNote {
  readonly kind: RequestKind;

  constructor(kind: RequestKind) {
    this.kind = kind;
  }

  abstract done(): void;
  abstract undone(hasFailed: boolean): void;
}

export function isOwn(entry: unknown): entry is OwnRequest {
  return entry instanceof OwnRequest;
}
