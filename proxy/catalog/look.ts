import type pg from "pg";
import type { Catalog } from "./catalog.ts";
import { type CatalogQuery, glanceSince, PROBE, SNAPSHOT } from "./queries.ts";
import { readCatalogIn } from "./snapshot.ts";
import { inSnapshot } from "./transaction.ts";

/** Data held along with the catalog; all of it is dropped when the probe shows a change. */
export interface Known {
  readonly catalog: Catalog;
  /** The probe's result at the same moment. */
  readonly probe: string;
  /** The result of later glances as long as nothing changes. */
  readonly glance: string;
  readonly since: number;
  /** The transactions that have been looked at; updated with each glance that saw nothing new. */
  snapshot: string;
  readonly unreadable: Map<string, Promise<ReadonlySet<string>>>;
  readonly searchPaths: Map<string, Promise<string | undefined>>;
}

/**
 * Runs the probe and, if its result is new, reads the catalog in the same snapshot: later changes show at the next
 * probe. An unchanged catalog stays the same object, so its verdicts stay valid.
 */
export async function look(client: pg.Client, known: Known | undefined): Promise<Known> {
  return inSnapshot(client, async () => {
    const snapshot = await answer(client, SNAPSHOT);
    const since = lowestRunning(snapshot);
    const seen = { snapshot, since, glance: await answer(client, glanceSince(since)) };
    const probe = await answer(client, PROBE);
    if (known !== undefined && known.probe === probe) return { ...known, ...seen };
    const read = await readCatalogIn(client);
    const catalog = known?.catalog.version === read.version ? known.catalog : read;
    return { catalog, probe, ...seen, unreadable: new Map(), searchPaths: new Map() };
  });
}

/**
 * Whether all user-defined objects are unchanged. Takes one round trip if the whole server has written nothing since
 * the last time.
 */
export async function glance(client: pg.Client, known: Known): Promise<boolean> {
  if ((await answer(client, SNAPSHOT)) === known.snapshot) return true;
  return inSnapshot(client, async () => {
    const snapshot = await answer(client, SNAPSHOT);
    if ((await answer(client, glanceSince(known.since))) !== known.glance) return false;
    known.snapshot = snapshot;
    return true;
  });
}

/** The xmin of `xmin:xmax:xip_list` as rows store it: without the epoch. */
function lowestRunning(snapshot: string): number {
  return Number(BigInt(snapshot.split(":", 1)[0] ?? "0") & 0xffff_ffffn);
}

async function answer(client: pg.Client, { text }: CatalogQuery): Promise<string> {
  const { rows } = await client.query<[string]>({ text, rowMode: "array" });
  return rows[0]?.[0] ?? "";
}
