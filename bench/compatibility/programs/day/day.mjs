import { AsyncLocalStorage } from "node:async_hooks";
import { step } from "../steps.mjs";

export { sqlstate, URI } from "../steps.mjs";

/** How the application says for whom it reads: one of those that the client has in frameworks/clients.ts, or "none". */
export const NAMING = process.env.DAY_NAMING ?? "none";

/** For each person of the desk what they do in a day, in this order. */
const PLAN = JSON.parse(process.env.DAY_PLAN ?? "[]");

/**
 * All people at once, as over one application's few connections: `acts` has a function for each action, which is given the
 * person and what the plan says, and returns what the screen shows.
 */
export async function day(acts) {
  await Promise.all(
    PLAN.map(async ({ person, actions }, at) => {
      for (const [i, { action, ...what }] of actions.entries())
        await step(`${at + 1}.${i + 1} ${action}`, () => acts[action](person, what));
    }),
  );
}

/** Who is being served, as a web framework keeps it for each request. */
export const served = new AsyncLocalStorage();

/**
 * Each text of node-postgres gets a comment that names whoever is being served. In the pool's query() as well: what waits for a
 * connection is sent on from the request that has given one back, and would be named by that.
 */
export function commentByDriver(pg) {
  for (const { prototype } of [pg.Pool, pg.Client]) {
    const { query } = prototype;
    prototype.query = function commented(asked, ...rest) {
      const person = served.getStore();
      const config = typeof asked === "string" ? { text: asked } : asked;
      if (person === undefined || typeof config?.text !== "string" || config.text.includes("/*"))
        return query.call(this, asked, ...rest);
      const text = `${config.text} /*user='${encodeURIComponent(person)}'*/`;
      return query.call(this, typeof asked === "string" ? text : { ...config, text }, ...rest);
    };
  }
}
