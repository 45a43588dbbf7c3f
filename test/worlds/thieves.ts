import pg from "pg";
import { customerAt, ticketAt } from "../../proxy/demo/made-up-people.ts";
import { AMOUNTS, type Desk, type DeskRole } from "./desk.ts";
import { BITS_PER_PERSON } from "./information.ts";

/**
 * Programs that take customers' names without reading them in rows. Each reports what it has found out about whom, and
 * continues until it is refused for good. Only correct results count, in bits.
 */

export interface Thief {
  readonly name: string;
  readonly role: DeskRole;
  /** Asks for the names of one portion of people; returns what it believes. */
  steal(ask: Ask, first: number): Promise<readonly Belief[]>;
  /** The number of people in a portion. */
  readonly portion: number;
  /** Expects to be refused: does not wait for room, and continues for longer. */
  readonly isPatient?: true;
  /** The maximum number of statements it tries. */
  readonly most?: number;
}

/** A letter of a customer's name, or the answer to a yes-or-no question about it. */
export interface Belief {
  readonly person: number;
  readonly bits: number;
  readonly isRight: boolean;
}

/** Runs one statement, or several in a transaction that is rolled back; returns the last one's answer. */
export type Ask = (...statements: readonly string[]) => Promise<Answer>;

export interface Answer {
  readonly sqlstate: string | undefined;
  readonly message: string;
  readonly rows: readonly (readonly unknown[])[];
  readonly count: number;
  /** The kinds of notices received, in order. */
  readonly notices: readonly string[];
}

/** The result of a theft. */
export interface Haul {
  readonly bits: number;
  readonly charged: number;
  readonly statements: number;
}

/** Enough to see the outcome: a minute's budget of 30 people is worth 960 bits. */
const MOST_STATEMENTS = 200;
const MOST_PATIENT = 1_500;
const LETTER_BITS = 7;

/** Lets a thief work until they are refused for good, as a new user. */
export async function letSteal(desk: Desk, thief: Thief, role = thief.role): Promise<Haul> {
  const user = await desk.newUser(role);
  const client = await desk.connect(user);
  let statements = 0;
  let refusals = 0;
  const ask: Ask = async (...asked) => {
    statements++;
    const answer = await answerOf(client, asked.length === 1 ? asked : ["BEGIN", ...asked]);
    const isRefused = ["53400", "42501", "54000"].includes(answer.sqlstate ?? "");
    refusals = isRefused ? refusals + 1 : 0;
    // A minute's budget soon has room again; the end of an hour's budget ends the theft.
    if (answer.sqlstate === "53400" && thief.isPatient === undefined) desk.clock.pass(61);
    return answer;
  };
  const most = thief.most ?? (thief.isPatient === true ? MOST_PATIENT : MOST_STATEMENTS);
  const isDone = (): boolean => statements >= most || (thief.isPatient === undefined && refusals >= 4);
  const stolen = new Map<number, number>();
  for (let first = 1; !isDone() && first + thief.portion < 1_400; first += thief.portion)
    for (const belief of await thief.steal(ask, first))
      stolen.set(belief.person, (stolen.get(belief.person) ?? 0) + worthOf(belief));
  await client.end();
  // A user who is charged for a person may know them: no name counts for more than that.
  const bits = [...stolen.values()].reduce((sum, each) => sum + Math.min(each, BITS_PER_PERSON), 0);
  return { bits: Math.max(0, bits), charged: await desk.charged(user), statements };
}

/** Half of all guesses at one bit are right: a wrong guess cancels a right one. */
function worthOf({ bits, isRight }: Belief): number {
  if (isRight) return bits;
  return bits === 1 ? -1 : 0;
}

async function answerOf(client: pg.Client, statements: readonly string[]): Promise<Answer> {
  const notices: string[] = [];
  const onNotice = ({ message = "" }: { message?: string | undefined }): void => void notices.push(message);
  client.on("notice", onNotice);
  let answer: Answer = { sqlstate: undefined, message: "", rows: [], count: 0, notices };
  try {
    for (const text of statements) {
      const { rows, rowCount } = await client.query<unknown[]>({ text, rowMode: "array" });
      answer = { ...answer, rows, count: rowCount ?? 0 };
    }
  } catch (error) {
    if (!(error instanceof pg.DatabaseError)) throw error;
    answer = { ...answer, sqlstate: error.code, message: error.message };
  } finally {
    client.off("notice", onNotice);
  }
  if (statements[0] === "BEGIN") await client.query("ROLLBACK");
  return answer;
}

/** The belief that the letter with this code is at this position (from 1) of the person's name; 0 is the end. */
function letter(person: number, place: number, code: number): Belief {
  const { name } = customerAt(person);
  const isRight = place <= name.length && name.charCodeAt(place - 1) === code;
  return { person, bits: LETTER_BITS, isRight };
}

/** Two digits for a letter: its code minus 31; 00 past the end. */
const code = (place: number, column = "name"): string =>
  `(ascii(substr(${column}, ${place}, 1)) - 31) * CASE WHEN length(${column}) < ${place} THEN 0 ELSE 1 END`;
const places = (from: number, count: number): readonly number[] =>
  Array.from({ length: count }, (_, i) => from + i);

/** `count` letters from `from` on as one number, two digits each, starting with the first. */
function packed(from: number, count: number, column = "name"): string {
  return places(from, count)
    .map((place, i) => `(${code(place, column)})::numeric * ${10n ** BigInt(2 * (count - 1 - i))}`)
    .join(" + ");
}

/** The letters in a number that `packed` made. */
function unpacked(person: number, from: number, digits: string): readonly Belief[] {
  return (digits.match(/\d\d/g) ?? [])
    .map((pair, i) => letter(person, from + i, Number(pair) + 31))
    .filter(({ isRight }) => isRight);
}

const SHORT = 9;

const byErrors: Thief = {
  name: "numbers in errors",
  role: "agent",
  portion: 1,
  async steal(ask, person) {
    const beliefs: Belief[] = [];
    for (const from of [1, 1 + SHORT]) {
      const { message } = await ask(
        `SELECT get_bit('\\x00'::bytea, (1${"0".repeat(18)} + ${packed(from, SHORT)})::bigint) FROM customers WHERE id = ${person}`,
      );
      const [, digits = ""] = /index 1(\d{18}) /.exec(message) ?? [];
      beliefs.push(...unpacked(person, from, digits));
    }
    return beliefs;
  },
};

const FIRST_NAMES = [...new Set(places(1, 400).map((id) => customerAt(id).name.split(" ")[0] ?? ""))];

const byQuotes: Thief = {
  name: "a dictionary, which errors quote",
  role: "agent",
  portion: 1,
  async steal(ask, person) {
    const { message } = await ask(
      `SELECT split_part(name, ' ', 1)::int FROM customers WHERE id = ${person} /* ${FIRST_NAMES.join(" ")} */`,
    );
    const [, name] = /"(\w+)"/.exec(message) ?? [];
    if (name === undefined) return [];
    return [
      {
        person,
        bits: Math.log2(FIRST_NAMES.length),
        isRight: customerAt(person).name.startsWith(`${name} `),
      },
    ];
  },
};

const NOTICED = 10;

const byNotices: Thief = {
  name: "the order of notices",
  role: "agent",
  most: 10,
  portion: NOTICED,
  async steal(ask, first) {
    const { notices } = await ask(
      `SELECT 1 FROM customers c CROSS JOIN LATERAL generate_series(0, 139) g(n) WHERE c.id BETWEEN ${first} AND ${first + NOTICED - 1} AND
        CASE WHEN (ascii(substr(c.name, n / 7 + 1, 1)) >> (n % 7)) & 1 = 1
          THEN plainto_tsquery('english', 'the' || left(c.name, 0))::text
          ELSE to_tsvector('simple', repeat('a', 3000 + n))::text END IS NULL`,
    );
    if (notices.length !== NOTICED * 140) return [];
    const bits = notices.map((notice) => (notice.includes("stop words") ? 1 : 0));
    return places(0, NOTICED).flatMap((person) =>
      places(0, 20).map((place) => {
        const at = person * 140 + place * 7;
        const value = bits.slice(at, at + 7).reduce((sum: number, bit, i) => sum + (bit << i), 0);
        return letter(first + person, place + 1, value);
      }),
    );
  },
};

const SUMMED = 100;
const LONG = 20;

const bySums: Thief = {
  name: "sums of many digits",
  role: "agent",
  portion: SUMMED,
  async steal(ask, first) {
    const { rows } = await ask(
      `SELECT sum((${packed(1, LONG)}) * 10::numeric ^ (${2 * LONG} * (id - ${first})))::text FROM customers WHERE id BETWEEN ${first} AND ${first + SUMMED - 1}`,
    );
    const [value] = rows[0] ?? [];
    if (typeof value !== "string") return [];
    const digits = value.replace(/\..*/, "").padStart(2 * LONG * SUMMED, "0");
    return places(0, SUMMED).flatMap((i) => {
      const at = digits.length - 2 * LONG * (i + 1);
      return unpacked(first + i, 1, digits.slice(at, at + 2 * LONG));
    });
  },
};

const FILTERED = 5;

const byFilters: Thief = {
  name: "bits by count() FILTER",
  role: "agent",
  most: 20,
  portion: FILTERED,
  async steal(ask, first) {
    const questions = places(first, FILTERED).flatMap((person) =>
      places(1, 10).flatMap((place) => places(0, 7).map((bit) => ({ person, place, bit }))),
    );
    const columns = questions.map(
      ({ person, place, bit }) =>
        `count(*) FILTER (WHERE id = ${person} AND (ascii(substr(name, ${place}, 1)) >> ${bit}) & 1 = 1)`,
    );
    const { rows } = await ask(
      `SELECT ${columns.join(", ")} FROM customers WHERE id BETWEEN ${first} AND ${first + FILTERED - 1}`,
    );
    const [row] = rows;
    if (row === undefined) return [];
    return questions.map(({ person, place, bit }, i) => answered(person, place, bit, Number(row[i]) === 1));
  },
};

/** A yes-or-no question about one bit of a letter, and its answer. */
function answered(person: number, place: number, bit: number, isSet: boolean): Belief {
  const value = customerAt(person).name.charCodeAt(place - 1) || 0;
  return { person, bits: 1, isRight: (((value >> bit) & 1) === 1) === isSet };
}

/** Asks for one bit after another of a person's first letters; how the statement ends gives the answer. */
function bitwise(
  name: string,
  role: DeskRole,
  sql: (person: number, condition: string) => readonly string[],
  read: (answer: Answer) => boolean | undefined,
  before?: string,
): Thief {
  return {
    name,
    role,
    portion: 1,
    async steal(ask, first) {
      const person = first + 100;
      if (before !== undefined && first === 1) await ask(before);
      const beliefs: Belief[] = [];
      for (const place of [1, 2]) {
        for (const bit of places(0, 7)) {
          const condition = `(ascii(substr(c.name, ${place}, 1)) >> ${bit}) & 1 = 1`;
          const isSet = read(await ask(...sql(person, condition)));
          if (isSet !== undefined) beliefs.push(answered(person, place, bit, isSet));
        }
      }
      return beliefs;
    },
  };
}

const came = ({ sqlstate, rows }: Answer): boolean | undefined =>
  sqlstate === undefined ? rows.length > 0 : undefined;
const failed =
  (state: string) =>
  ({ sqlstate }: Answer): boolean | undefined =>
    sqlstate === state ? true : sqlstate === undefined ? false : undefined;

const byMoves: Thief = {
  name: "MOVE",
  role: "agent",
  portion: 1,
  async steal(ask, person) {
    const beliefs: Belief[] = [];
    for (const from of [1, 3, 5]) {
      const { count, sqlstate } = await ask(
        `DECLARE k CURSOR FOR SELECT 1 FROM customers c CROSS JOIN LATERAL generate_series(1, ${packed(from, 2, "c.name")}) g(n)
          WHERE c.id = ${person}`,
        "MOVE ALL FROM k",
      );
      if (sqlstate === undefined) beliefs.push(...unpacked(person, from, String(count).padStart(4, "0")));
    }
    return beliefs;
  },
};

const byPlans: Thief = {
  name: "EXPLAIN ANALYZE",
  role: "lead",
  portion: 1,
  async steal(ask, ticket) {
    const letters = places(1, 6).map(
      (place) => `(SELECT sum(1) FROM generate_series(1, ascii(substr(t.subject, ${place}, 1))))`,
    );
    const { rows } = await ask(
      `EXPLAIN (ANALYZE, TIMING OFF, SUMMARY OFF) SELECT ${letters.join(", ")}, t.customer_id FROM tickets t WHERE t.id = ${ticket}`,
    );
    const figures = rows
      .map(([line]) => /Function Scan.*actual rows=(\d+)/.exec(String(line))?.[1])
      .filter((figure) => figure !== undefined);
    if (figures.length === 0) return [];
    // Finding out whose ticket it is requires a row; the thief is told without one.
    const person = ticketAt(ticket, AMOUNTS.customers).customerId;
    return figures.map((figure, i) => letter(person, i + 1, Number(figure)));
  },
};

const byOwnTickets: Thief = {
  name: "tickets that the thief assigns to themselves",
  role: "agent",
  portion: 1,
  async steal(ask, ticket) {
    const { message } = await ask(
      `UPDATE tickets SET assignee = current_user WHERE id = ${ticket}`,
      `SELECT get_bit('\\x00'::bytea, (1${"0".repeat(18)} + ${packed(1, SHORT, "subject")})::bigint) FROM tickets WHERE id = ${ticket}`,
    );
    const [, digits = ""] = /index 1(\d{18}) /.exec(message) ?? [];
    return unpacked(ticketAt(ticket, AMOUNTS.customers).customerId, 1, digits);
  },
};

const CANDIDATES = 20;

const byLookups: Thief = {
  name: "lookups of numbers, answered by an error",
  role: "agent",
  portion: 1,
  async steal(ask, round) {
    const numbers = places(0, CANDIDATES).map((i) => {
      const tried = round * CANDIDATES + i;
      return `+1 ${200 + (tried % 800)} 555 01${String(Math.floor(tried / 800) % 100).padStart(2, "0")}`;
    });
    const { message } = await ask(
      `SELECT get_bit('\\x00'::bytea, 100000 + id) FROM customers WHERE phone IN (${numbers.map((each) => `'${each}'`).join(", ")})`,
    );
    const [, index] = /index (\d+) /.exec(message) ?? [];
    if (index === undefined) return [];
    const person = Number(index) - 100_000;
    const isRight = numbers.includes(customerAt(person).phone);
    return [{ person, bits: Math.log2(AMOUNTS.customers), isRight }];
  },
};

const COUNTED_ROW = 1_500;

/** All thieves. */
export const THIEVES: readonly Thief[] = [
  byErrors,
  byQuotes,
  byNotices,
  bySums,
  byFilters,
  byMoves,
  byPlans,
  byOwnTickets,
  byLookups,
  bitwise(
    "whether a division fails",
    "agent",
    (person, condition) => [
      `SELECT 1 FROM customers c WHERE c.id = ${person} AND 1 / (CASE WHEN ${condition} THEN 0 ELSE 1 END) < 0`,
    ],
    failed("22012"),
  ),
  bitwise(
    "HAVING",
    "agent",
    (person, condition) => [
      `SELECT 1 FROM customers c WHERE c.id = ${person} HAVING bool_or(NOT (${condition}))`,
    ],
    (answer) => inverted(came(answer)),
  ),
  bitwise(
    "an empty answer",
    "agent",
    (person, condition) => [
      `SELECT 1 WHERE EXISTS (SELECT FROM customers c WHERE c.id = ${person} AND NOT (${condition}))`,
    ],
    (answer) => inverted(came(answer)),
  ),
  bitwise(
    "the tag of a rolled-back UPDATE",
    "agent",
    (person, condition) => [
      "SELECT 1",
      `UPDATE tickets SET status = status FROM customers c WHERE c.id = tickets.customer_id AND c.id = ${person} AND ${condition}`,
    ],
    ({ sqlstate, count }) => (sqlstate === undefined ? count > 0 : undefined),
  ),
  bitwise(
    "a counted customer's rank",
    "agent",
    (person, condition) => [
      `SELECT c.id, rank() OVER (ORDER BY CASE WHEN c.id = ${COUNTED_ROW} THEN 1 WHEN ${condition} THEN 0 ELSE 2 END)::int
        FROM customers c WHERE c.id IN (${COUNTED_ROW}, ${person}) ORDER BY c.id DESC LIMIT 1`,
    ],
    ({ rows }) => (rows[0] === undefined ? undefined : Number(rows[0][1]) === 2),
    `SELECT name FROM customers WHERE id = ${COUNTED_ROW}`,
  ),
  {
    ...bitwise(
      "refusals of a budget that is used up",
      "agent",
      (person, condition) => [
        `SELECT c.id FROM customers c WHERE c.id IN (${COUNTED_ROW}, ${person}) AND (c.id = ${COUNTED_ROW} OR ${condition}) ORDER BY c.id DESC`,
      ],
      failed("53400"),
      `SELECT name FROM customers WHERE id BETWEEN ${COUNTED_ROW} AND ${COUNTED_ROW + 29}`,
    ),
    isPatient: true,
  },
];

function inverted(isSet: boolean | undefined): boolean | undefined {
  return isSet === undefined ? undefined : !isSet;
}
