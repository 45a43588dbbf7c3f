// What each program reads, and how it says so: `DESK_PLAN` is a list of [person, from, to]; a line of ids for each.
export const URI = process.env.DESK_URI ?? "";
const PLAN = JSON.parse(process.env.DESK_PLAN ?? "[]");

/** All at once, over as few connections as the framework's pool has. */
export async function day(read) {
  const pages = await Promise.all(
    PLAN.map(async ([person, from, to]) => [person, await read(person, from, to)]),
  );
  for (const [person, ids] of pages) console.log(JSON.stringify([person, ids.map(Number)]));
}
