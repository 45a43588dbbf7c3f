/** The thread of an `Analyst`: analyses one text after the other, with the catalogs that it was sent. */
import { parentPort } from "node:worker_threads";
import { assembled, type CatalogParts } from "../catalog/assembled.ts";
import type { Catalog, CatalogFunction, CatalogType, Relation } from "../catalog/catalog.ts";
import { analyse } from "../sql/analyse.ts";
import { Constants } from "../sql/parse/constants.ts";
import { residueOf } from "../sql/session-residue.ts";
import { isShareable, mayHaveShape } from "../sql/shape.ts";
import { LONGEST_PARSED_ELSEWHERE, storedText } from "../sql/stored-text.ts";
import type { CatalogList, FromThread, ResidueFromThread, SentScope, ToThread } from "./thread-messages.ts";

interface Gathered {
  readonly rest: Omit<CatalogParts, CatalogList>;
  readonly relations: Relation[];
  readonly functions: CatalogFunction[];
  readonly types: CatalogType[];
  catalog?: Catalog;
}

const catalogs = new Map<number, Gathered>();

function take(message: ToThread): void {
  switch (message.kind) {
    case "catalog":
      for (const id of message.forget) catalogs.delete(id);
      catalogs.set(message.id, { rest: message.rest, relations: [], functions: [], types: [] });
      break;
    case "piece":
      // The sender took each piece from the list that it names.
      (catalogs.get(message.id)?.[message.list] as object[] | undefined)?.push(...message.piece);
      break;
    case "text":
      parentPort?.postMessage(judged(message.text, catalogOf(message.catalog), message.scope));
      break;
    case "residue":
      parentPort?.postMessage(left(message.text, catalogOf(message.catalog)));
  }
}

/** Throws, and so ends the thread, if the catalog is missing: there is no verdict without it. */
function catalogOf(id: number): Catalog {
  const gathered = catalogs.get(id);
  if (gathered === undefined) throw new Error("a text came before its catalog");
  const { rest, relations, functions, types } = gathered;
  gathered.catalog ??= assembled({ ...rest, relations, functions, types });
  return gathered.catalog;
}

function judged(text: string, catalog: Catalog, { maskKey, ...sent }: SentScope): FromThread {
  const scope = { ...sent, catalog, maskKey: maskKey && Buffer.from(maskKey) };
  const leftovers: string[] = [];
  const constants = new Constants();
  const verdict = analyse(text, scope, (name) => leftovers.push(name), constants);
  return {
    verdict,
    stored: storedText(text, LONGEST_PARSED_ELSEWHERE),
    isShared: !constants.seen && mayHaveShape(text) && isShareable(text),
    leftovers,
  };
}

function left(text: string, catalog: Catalog): ResidueFromThread {
  return { residue: residueOf(text, catalog, LONGEST_PARSED_ELSEWHERE) };
}

parentPort?.on("message", take);
