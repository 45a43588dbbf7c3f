import { z } from "zod";
import { BEHAVIOUR_RULES } from "./policy.ts";

/*
 * The YAML of a policy file. The texts given as `error` say what would be right: they become the hint of a
 * problem. The texts of `describe` become hover texts in editors, by the JSON schema.
 */

/** A mapping with these keys and no others. */
export function mapping<Shape extends z.ZodRawShape>(shape: Shape, example: string) {
  return z.strictObject(shape, {
    error: (issue) =>
      issue.code === "unrecognized_keys" ? `Keys here: ${Object.keys(shape).join(", ")}.` : example,
  });
}

export const name = z
  .string({ error: "A name; put it in quotes if it looks like a number." })
  .min(1, { error: "A name that is not empty." });

const exactUser = name.regex(/^[^*?]+$/, { error: "A user's exact name: no wildcards here." });

/** What a policy can name: `schema.table` without further dots and stars. */
export const RELATION_NAME = /^[^.*\s][^.*]*\.[^.*]+$/;

export const relationName = z.string({ error: "A table as schema.table." }).regex(RELATION_NAME, {
  error: "A table with its schema, as in public.customers.",
});

const relationPattern = z
  .string({ error: "A table as schema.table, or schema.* for all of a schema." })
  .regex(/^[^.*\s][^.*]*\.([^.*]+|\*)$/, {
    error: "A table with its schema, as in public.customers, or a whole schema, as in public.*.",
  });

const OWN_CONDITIONS_HINT = "A list of columns, as in [public.tickets.assignee].";

const columnPattern = z.string({ error: OWN_CONDITIONS_HINT }).regex(/^[^.*\s][^.*]*\.[^.*]+\.([^.*]+|\*)$/, {
  error:
    "A column with its schema and table, as in public.tickets.assignee, or a whole table, as in public.tickets.*.",
});

const functionName = z.string({ error: "A function as schema.name." }).regex(/^[^.*\s(]+\.[^.*\s(]+$/, {
  error: "A function with its schema and without arguments, as in public.normalise_phone.",
});

const CALLS_HINT = "A list of functions, as in [public.close_ticket, { public.normalise_phone: shown }].";

const sql = z
  .string({ error: "One SQL expression, in quotes." })
  .min(1, { error: "One SQL expression, in quotes." });

const positive = z
  .number({ error: "A whole number, 1 or more." })
  .int({ error: "A whole number, 1 or more." })
  .min(1, { error: "A whole number, 1 or more." });

export const count = z
  .number({ error: "A whole number, 0 or more." })
  .int({ error: "A whole number, 0 or more." })
  .min(0, { error: "A whole number, 0 or more." });

const none = z.literal("none");

export const WORD_MASKS = ["null", "redact", "initials", "email", "hash", "year", "month"] as const;

const MASKS_HINT =
  'A mask: "null", redact, initials, email, hash, year, month, { constant: text }, { first: n }, { last: n }, ' +
  '{ token: prefix }, { round: n } or { sql: "left(value, 3)" }.';

const maskSchema = z
  .union(
    [
      // An unquoted null is YAML's own null. It can only mean the strongest mask.
      z.null(),
      z.enum(WORD_MASKS),
      mapping({ constant: z.string({ error: "A text." }) }, MASKS_HINT),
      mapping({ first: positive }, MASKS_HINT),
      mapping({ last: positive }, MASKS_HINT),
      mapping(
        {
          token: z
            .string({ error: "What each token begins with, as in cust_." })
            .regex(/^[A-Za-z0-9_.:-]{0,20}$/, {
              error: "At most 20 letters, digits and _ . : -, as in cust_.",
            }),
        },
        MASKS_HINT,
      ),
      mapping(
        {
          round: z
            .number({ error: "A number above 0." })
            .min(1e-6, { error: "A number from 0.000001 to 1e12." })
            .max(1e12, { error: "A number from 0.000001 to 1e12." }),
        },
        MASKS_HINT,
      ),
      mapping({ sql }, MASKS_HINT),
    ],
    { error: MASKS_HINT },
  )
  .describe(
    [
      "How a value looks to those who may not see it. NULL stays NULL, and the column keeps its type.",
      'null: NULL ("null" in quotes). redact: [redacted]. { constant: text }: that text.',
      "initials: Alice Ng becomes A. N. email: alice@example.com becomes a***@example.com.",
      "{ first: n }, { last: n }: n characters are shown, each other one is a star.",
      "{ token: prefix }: keyed and always the same for the same value, so joins and groups still work.",
      "hash: SHA-256 without a key; whoever can list all possible values can find the one behind it.",
      "{ round: n }: to a multiple of n (numbers). year, month: cut to it (dates and times, in UTC).",
      '{ sql: "left(value, 3)" }: an expression of your own, where value is the column; one that can fail ' +
        "may show the value in its error message.",
    ].join("\n"),
  );

const COST_HINT = "A whole number from 1 to 100.";

const classSchema = mapping(
  {
    mask: maskSchema,
    cost: z
      .number({ error: COST_HINT })
      .int({ error: COST_HINT })
      .min(1, { error: COST_HINT })
      .max(100, { error: COST_HINT })
      .optional()
      .describe(
        "How many people of a budget one counts for in a statement that reads this class in the clear, or looks " +
          "somebody up by it. 1 if left out.",
      ),
  },
  "A class as in { mask: redact }, or { mask: redact, cost: 5 }.",
);

const tableSchema = mapping(
  {
    subject: name
      .optional()
      .describe(
        "The column that says whose record a row is: one distinct value counts as one person read. Or a path to " +
          "it over other tables' keys: ticket_id -> public.tickets.customer_id.",
      ),
    columns: z
      .record(z.string(), name, { error: "Columns and their classes, as in { email: email }." })
      .optional()
      .describe("Which class each protected column has: column name, then class name."),
    allow_missing: z
      .boolean({ error: "true or false." })
      .optional()
      .describe(
        "The table, or a column that is named here, may be missing in the database, because it is made later. Without " +
          "it serve refuses the policy: a misspelt name would leave the real table unprotected.",
      ),
  },
  "A table as in { subject: id, columns: { email: email } }.",
);

const classList = z.array(name, { error: "A list of class names." });

const sightSchema = z
  .union(
    [
      z.literal("all"),
      none,
      z.array(
        z.union(
          [
            name,
            z.record(name, mapping({ when: sql }, 'A condition as in { when: "assignee = :user" }.'), {
              error: 'A class with its condition, as in text: { when: "assignee = :user" }.',
            }),
          ],
          { error: 'A class name, or text: { when: "assignee = :user" }.' },
        ),
      ),
    ],
    { error: "all, none, or a list of class names, each perhaps with { when: … }." },
  )
  .describe(
    "Classes that the role sees in the clear. With `when`, only in rows where the SQL condition holds; " +
      ":user stands for the user's name as a quoted literal. All other classes are masked.",
  );

const RELATIONS_HINT = "all, none, or a list as in [public.customers, crm.*].";
const relationsSchema = z.union([z.literal("all"), none, z.array(relationPattern)], {
  error: RELATIONS_HINT,
});

const DURATION = /^[1-9][0-9]{0,5}[smhdw]$/;
const BUDGET_HINT = "none, or windows as in { 1h: 120, 1d: { people: 300, rows: 5000 } }.";
const BYTES_HINT = "A size as in 4096, 256kB, 10MB or 1GB (1kB is 1024 bytes, as in Postgres), or none.";
const sizeSchema = z.union(
  [positive, z.string().regex(/^[1-9][0-9]{0,8} ?(B|kB|MB|GB)$/, { error: BYTES_HINT })],
  {
    error: BYTES_HINT,
  },
);
const budgetSchema = z
  .union(
    [
      none,
      z.record(
        z.string().regex(DURATION, { error: "A window: a number and s, m, h, d or w, as in 1m, 12h, 30d." }),
        z.union(
          [
            none,
            count,
            mapping(
              {
                people: count.optional(),
                rows: count.optional(),
                bytes: sizeSchema.optional(),
                lookups: count.optional(),
                changes: count.optional(),
              },
              "As in { people: 300, rows: 5000, bytes: 10MB, lookups: 500, changes: 500 }.",
            ),
          ],
          {
            error:
              "A number of people, { people: 300, rows: 5000, bytes: 10MB, lookups: 500, changes: 500 }, or none.",
          },
        ),
      ),
    ],
    { error: BUDGET_HINT },
  )
  .describe(
    "How many distinct people (and rows, bytes, exact look-ups) a user may read within sliding windows, over " +
      "all sessions and proxies together. changes: how many rows about people the user may write. `none`: not " +
      "counted. A role that extends another changes only the windows it names.",
  );

const actionSchema = z.enum(["off", "alert", "tighten", "suspend"], {
  error: "off, alert, tighten or suspend.",
});
const BEHAVIOUR_HINT = "off, or rules as in { new_people: tighten, sequence: suspend }.";
const behaviourSchema = z
  .union([z.literal("off"), z.partialRecord(z.enum(BEHAVIOUR_RULES), actionSchema)], {
    error: `${BEHAVIOUR_HINT} Rules: ${BEHAVIOUR_RULES.join(", ")}.`,
  })
  .describe(
    [
      "What becomes of a user who reads in an unusual pattern: alert (somebody is told; the default where there is a " +
        "budget), tighten (told, and half of the budgets for a week; who goes on for three days is suspended), suspend (told, and cut off), off.",
      "new_people, lookups: far more in a day than the user and their colleagues ever do.",
      "dump: statements that are stopped because they ask for far more people than the role may have.",
      "sequence: one id after the other. hours: when neither the user nor the role works.",
      "addresses: from a network where nobody of the role came from. refusals: many in a row.",
      "purpose: most of the new people of a day have nothing to do with the user's work, see `purpose` of the role.",
      "together: more users of the role than ever read far more than they do, at once, the user among them.",
    ].join("\n"),
  );

const LOSS_HINT = "closed, grace, or { grace: 0.1 } (a share of the budgets, above 0 and at most 1).";
const lossSchema = z
  .union(
    [
      z.enum(["closed", "grace"], { error: LOSS_HINT }),
      mapping({ grace: z.number({ error: LOSS_HINT }).min(0.001).max(1) }, LOSS_HINT),
    ],
    { error: LOSS_HINT },
  )
  .describe(
    "While Redis cannot be reached: closed (the default) releases nothing that a budget counts; grace lets each " +
      "proxy release a share of each budget (a tenth if not said) and counts it in when Redis is back.",
  );

const PURPOSE_HINT =
  "Tables of people and conditions, as in { public.customers: " +
  '"exists (select from public.tickets t where t.customer_id = customers.id and t.assignee = :user)" }.';

const SOURCE_HINT =
  "setting: app.agent, setting: { name: request.jwt.claims, path: sub }, comment: user, " +
  'application_name: "helpdesk/(.+)" or role: true.';
const settingName = z.string({ error: SOURCE_HINT }).regex(/^[A-Za-z_][\w$]*(\.[A-Za-z_][\w$]*)+$/, {
  error: "A setting of the application's own, with a dot, as in app.agent.",
});
const sourceSchema = z.union(
  [
    mapping({ setting: settingName }, SOURCE_HINT),
    mapping({ setting: mapping({ name: settingName, path: z.string().min(1) }, SOURCE_HINT) }, SOURCE_HINT),
    mapping({ comment: z.string().regex(/^[\w.-]{1,64}$/, { error: "A key, as in user." }) }, SOURCE_HINT),
    mapping({ application_name: z.string().min(1) }, SOURCE_HINT),
    mapping({ role: z.literal(true) }, SOURCE_HINT),
  ],
  { error: SOURCE_HINT },
);

const roleSchema = mapping(
  {
    extends: name
      .optional()
      .describe(
        "Another role. What this role says replaces what that one says, key by key; users stay its own, and that one's " +
          "filters (only) stay in force unless this role says none for the table.",
      ),
    users: z
      .array(name, { error: "A list of user names, as in [anna, ben]." })
      .optional()
      .describe(
        "Database users who have this role. * and ? are wildcards; an exact name goes before a wildcard.",
      ),
    from: z
      .array(z.string({ error: "A network, as in 10.2.0.0/16." }), {
        error: "A list of networks, as in [10.2.0.0/16].",
      })
      .optional()
      .describe("Networks where these users may come from. All if left out."),
    reads: relationsSchema.optional().describe("Tables and views that the role may read. None if left out."),
    writes: relationsSchema
      .optional()
      .describe("Tables that the role may insert into, update and delete from. None if left out."),
    sees: sightSchema.optional(),
    finds: z
      .union([z.literal("all"), none, classList], { error: "all, none, or a list of class names." })
      .optional()
      .describe("Masked classes that may be searched by exact value: where email = 'alice@example.com'."),
    calls: z
      .array(
        z.union([functionName, z.record(functionName, z.literal("shown"), { error: CALLS_HINT })], {
          error: CALLS_HINT,
        }),
        { error: CALLS_HINT },
      )
      .optional()
      .describe(
        "Functions outside pg_catalog that the role may call. What one returns may be anything, and so is guarded: " +
          "one that returns something is called only where { schema.name: shown } says that the role may see it.",
      ),
    require_filter: z
      .array(relationName, { error: "A list of tables." })
      .optional()
      .describe(
        "Tables that may be read, updated and deleted from only with a condition on an indexed column.",
      ),
    only: z
      .record(relationName, sql, {
        error: "Tables and conditions, as in { public.tickets: \"region = 'eu'\" }; none drops the parent's.",
      })
      .optional()
      .describe(
        "Row filters: of these tables the role has only the rows where the SQL condition holds. A role that extends " +
          "another keeps its filters, and adds to them what it says here; `none` drops the one of that table.",
      ),
    purpose: z
      .record(relationName, sql, { error: PURPOSE_HINT })
      .optional()
      .describe(
        "What ties a person to the reader's work, by the table of people. Rows are shown all the same: the rule " +
          '"purpose" sees who reads many people without. EXISTS, AND, OR, NOT, IS NULL and comparisons only.',
      ),
    writes_own_conditions: z
      .array(columnPattern, { error: OWN_CONDITIONS_HINT })
      .optional()
      .describe(
        "Columns that the role may write although a condition of its own (when, only, purpose) depends on them: it can " +
          "then grant itself what the condition guards. schema.table.* means all columns of a table. None if left out.",
      ),
    aggregates_only: z
      .union(
        [
          none,
          mapping(
            {
              min_group: positive.min(2, { error: "A whole number, 2 or more." }),
              noise: z
                .union([z.literal("off"), positive.min(2).max(100)], {
                  error: "off, or a whole number from 2 to 100.",
                })
                .optional()
                .describe(
                  "Base of rounding: counts, sums and averages are off by fewer than so many of the largest contributions in a group (5 if " +
                    "left out), so that two groups do not tell of the one person in whom they differ. off: exact figures.",
                ),
            },
            "As in { min_group: 10 }.",
          ),
        ],
        {
          error: "none, or { min_group: 10 }.",
        },
      )
      .optional()
      .describe("Grouped results only, rounded; groups of fewer people than min_group are left out."),
    rows: z
      .union([none, positive], { error: "A whole number, 1 or more, or none." })
      .optional()
      .describe("Rows that one statement may return."),
    bytes: z
      .union([none, sizeSchema], { error: BYTES_HINT })
      .optional()
      .describe("Bytes that one statement may return: 256kB, 10MB."),
    changes: z
      .union([none, positive], { error: "A whole number, 1 or more, or none." })
      .optional()
      .describe(
        "Rows that one statement may insert, update, delete or copy in. One that would write more fails, and " +
          "leaves nothing behind.",
      ),
    on_excess: z
      .enum(["error", "truncate"], { error: "error or truncate." })
      .optional()
      .describe("Past rows or bytes: an error (the default), or the first rows and a warning."),
    push_limit: z
      .boolean({ error: "true or false." })
      .optional()
      .describe(
        "Ends a SELECT without a LIMIT by LIMIT rows + 1, so that the server stops early. It may choose another plan, and " +
          "another order where ORDER BY leaves it open.",
      ),
    budget: budgetSchema.optional(),
    role_budget: budgetSchema
      .optional()
      .describe("As budget, for all users of the role together: what colluding accounts may read."),
    address_budget: budgetSchema
      .optional()
      .describe("As budget, for all that is read from one client address by users of such roles."),
    on_counter_loss: lossSchema.optional(),
    behaviour: behaviourSchema.optional(),
    watch: z
      .boolean({ error: "true or false." })
      .optional()
      .describe(
        "Of a role that sees, reads and writes all: its statements run as they were written and none is refused for " +
          "what it asks, but the people whom they show are counted, logged and held against decoys and behaviour rules.",
      ),
    people_behind: z
      .array(sourceSchema, { error: SOURCE_HINT })
      .optional()
      .describe(
        "Of a watched role: what names the person for whom the application reads. The first that says something does. " +
          "That person is counted, limited, logged and suspended by name.",
      ),
    unnamed: z
      .union([z.literal("refuse"), mapping({ budget: budgetSchema }, "refuse, or { budget: { 1h: 50 } }.")], {
        error: "refuse, or { budget: { 1h: 50 } }.",
      })
      .optional()
      .describe(
        "What holds where nobody is named: refuse shows nobody, a budget counts the application itself. The role's own " +
          "budgets if left out.",
      ),
    on_budget: z
      .enum(["stop", "alert"], { error: "stop or alert." })
      .optional()
      .describe(
        "Of a watched role, when a budget is used up: stop (the default) shows nobody new until the budget has room " +
          "again; alert tells somebody and stops nothing.",
      ),
  },
  "A role as in { users: [anna], reads: [public.customers] }.",
);

const CANARIES_HINT =
  'Ids, as in [9000001, 9000002], a condition that marks decoys, as in "is_decoy", or groups of either, as in { berlin: [9000001] }.';
const canaryId = z.union([z.string().min(1), z.number().int()], { error: "An id, as in 9000001." });
const canaryEntry = z.union([z.array(canaryId, { error: CANARIES_HINT }), sql], { error: CANARIES_HINT });
const canariesSchema = z
  .record(
    relationName,
    z.union(
      [
        z.array(canaryId, { error: CANARIES_HINT }),
        sql,
        z.record(name, canaryEntry, { error: CANARIES_HINT }),
      ],
      { error: CANARIES_HINT },
    ),
    { error: "Tables and ids, as in { public.customers: [9000001] }." },
  )
  .describe(
    'Decoys: people who do not exist, by the table whose "subject" they are ("sluice canary make" writes some): ' +
      "their ids, or an SQL condition that marks their rows. " +
      "Whoever reads one is told of. In groups, a decoy that leaks names the group that it was given to.",
  );

/** One policy file. */
export const policyFileSchema = mapping(
  {
    version: z.literal(1, { error: "version: 1" }).describe("Version of this format: 1."),
    database: name
      .optional()
      .describe("The one database that this file speaks of. All databases if left out."),
    classes: z
      .record(name, classSchema, { error: "Classes by name, as in email: { mask: email }." })
      .optional()
      .describe("What protected columns hold, and how that looks to those who may not see it."),
    tables: z
      .record(relationName, tableSchema, { error: "Tables by schema.table." })
      .optional()
      .describe("Which columns are protected, and which column says whose record a row is."),
    roles: z.record(name, roleSchema, { error: "Roles by name." }).optional().describe("Who may do what."),
    canaries: canariesSchema.optional(),
    on_canary: z
      .enum(["alert", "suspend"], { error: "alert or suspend." })
      .optional()
      .describe(
        "What becomes of a user who reads a decoy: alert (the default; somebody is told), or suspend.",
      ),
    unknown_users: name
      .optional()
      .describe("Users without a role: refuse (the default), or the name of a role."),
    unclassified: z
      .enum(["show", "mask", "deny"], { error: "show, mask or deny." })
      .optional()
      .describe("Columns without a class: show (the default), mask (NULL) or deny."),
    admins: z
      .array(exactUser, { error: "A list of user names, as in [dba]." })
      .optional()
      .describe("Users of the admin database (psql … sluice) who may also SUSPEND, RESUME, KILL and RELOAD."),
    auditors: z
      .array(exactUser, { error: "A list of user names, as in [officer]." })
      .optional()
      .describe("Users of the admin database (psql … sluice) who may SHOW and EXPLAIN, and change nothing."),
    mode: z
      .enum(["enforce", "observe"], { error: "enforce or observe." })
      .optional()
      .describe("enforce (the default), or observe: say what would happen and change nothing."),
  },
  "A mapping with version, classes, tables and roles.",
);

export type PolicyFile = z.infer<typeof policyFileSchema>;
export type RoleEntry = z.infer<typeof roleSchema>;
export type MaskEntry = z.infer<typeof maskSchema>;
export type BudgetEntry = NonNullable<RoleEntry["budget"]>;

/** The JSON schema of a policy file, for editors (draft 7, which yaml-language-server reads). */
export function policyJsonSchema(): string {
  const schema = z.toJSONSchema(policyFileSchema, { target: "draft-7", io: "input" });
  return `${JSON.stringify({ title: "Sluice policy", ...schema }, null, 2)}\n`;
}
