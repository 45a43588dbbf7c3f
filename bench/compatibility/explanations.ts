import type { Difference } from "./steps.ts";
import type { Way } from "./world.ts";

/** Why a client's step comes out otherwise through Sluice, and what its user does about it. */
interface Explanation {
  readonly way: Way["name"];
  /** Of the step's name and the error, or what was got: `notifications: 42501 LISTEN is not possible …`. */
  readonly what: RegExp;
  readonly why: string;
}

/** Pages beside docs/compatibility.md. */
const POOL = "[pooling.md](pooling.md#what-is-refused)";
const REFUSED_SESSION = "[refused.md](refused.md#session)";
const REFUSED_WRITING = "[refused.md](refused.md#writing)";

const EXPLANATIONS: readonly Explanation[] = [
  {
    way: "pool",
    what: /LISTEN is not possible|^listener: 42501|LISTEN is not answered/,
    why: `LISTEN is refused: the next transaction may run on another connection (${POOL})`,
  },
  {
    way: "pool",
    what: /a temporary relation is not possible/,
    why: `temporary tables are refused but ON COMMIT DROP (${POOL})`,
  },
  {
    way: "pool",
    what: /pg_(try_)?advisory_lock\(\) is not possible/,
    why: `locks of the session are refused; Rails: \`advisory_locks: false\` (${POOL})`,
  },
  {
    way: "pool",
    what: /a cursor WITH HOLD is not possible|cursor "_django_curs/,
    why: `cursors WITH HOLD are refused; Django: \`DISABLE_SERVER_SIDE_CURSORS\`, PDO: no \`CURSOR_SCROLL\` (${POOL})`,
  },
  {
    way: "agent",
    what: /may not run LISTEN|^listener: 42501|LISTEN is not answered/,
    why: `a guarded role may not LISTEN: what others notify is not masked (${REFUSED_SESSION})`,
  },
  {
    way: "agent",
    what: /may not run CREATE OR/,
    why: `Sequelize makes a function for \`findOrCreate\`: use \`findOne\` and \`create\` (${REFUSED_SESSION})`,
  },
  {
    way: "agent",
    what: /may not run (CREATE TEMP|VACUUM)|may not use two-phase commit/,
    why: `no temporary tables, maintenance or two-phase commit for a guarded role (${REFUSED_SESSION})`,
  },
  {
    way: "agent",
    what: /masked and may not write it/,
    why: `saving all columns would write the mask over the value: leave the masked column out (Django: \`defer\`, \`update_fields\`; Peewee: \`only\`) (${REFUSED_WRITING})`,
  },
  {
    way: "pool",
    what: /SET client_encoding to this value is not possible/,
    why: `client_encoding stays UTF8: texts are read as the server reads them (${POOL})`,
  },
  {
    way: "agent",
    what: /may not change client_encoding/,
    why: `client_encoding stays UTF8: texts are read as the server reads them (${REFUSED_SESSION})`,
  },
  {
    way: "tokens",
    what: /(lower\(\)|ILIKE|LIKE) cannot work on tokens/,
    why: "a token is found by the exact value ([tokens.md](tokens.md#what-is-refused))",
  },
  {
    way: "tokens",
    what: /COPY of columns with tokens is known in text and CSV/,
    why: "COPY of such columns in text or CSV ([tokens.md](tokens.md#what-is-refused))",
  },
  {
    way: "tokens",
    // Of "relationLoadStrategy: join": documents of json_build_object, which the database makes of tokens.
    what: /^(page with include|include of two levels, join): .* in place of /,
    why: 'documents that the database makes hold tokens: `relationLoadStrategy: "query"` ([tokens.md](tokens.md#what-works))',
  },
  {
    way: "tokens",
    what: /a temporary function may not write/,
    why: "Sequelize makes a function for `findOrCreate`: use `findOne` and `create` ([tokens.md](tokens.md#what-is-refused))",
  },
];

/** What is known of this difference, or undefined: then it is a fault. */
export function explain(way: Way["name"], { step, what }: Difference): string | undefined {
  const told = `${step}: ${what}`;
  return EXPLANATIONS.find((one) => one.way === way && one.what.test(told))?.why;
}
