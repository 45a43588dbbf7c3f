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
