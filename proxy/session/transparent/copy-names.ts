import type { ObservedRequest } from "./observed-requests.ts";

/**
 * Which of the requests that are sent may begin a COPY from the client. By the names as they are sent: whether an earlier
 * message fails is not known yet.
 */
export class CopyNames {
  /** None before the first COPY that is prepared. */
  #statements: Set<string> | undefined;
  #portals: Set<string> | undefined;

  mayBegin(request: ObservedRequest): boolean {
    switch (request.kind) {
      case "query":
        return request.judged.verdict.statements.some(({ effect }) => effect?.kind === "copyIn");
      case "parse": {
        const copies = request.kept.verdict.statements[0]?.effect?.kind === "copyIn";
        this.#statements = noted(this.#statements, request.name, copies);
        return false;
      }
      case "bind": {
        const copies = this.#statements?.has(request.statement) === true;
        this.#portals = noted(this.#portals, request.portal, copies);
        return false;
      }
      case "execute":
        return this.#portals?.has(request.portal) === true;
      default:
        return false;
    }
  }
}

function noted(names: Set<string> | undefined, name: string, copies: boolean): Set<string> | undefined {
  if (copies) return (names ?? new Set()).add(name);
  names?.delete(name);
  return names;
}
