import { z } from "zod";
import { SEARCH_KINDS } from "../tokens/blind-index.ts";
import { maskSchema } from "./masks/all.ts";
import { ROLE_RULES, roleSchema } from "./rules/all.ts";
import type { RoleRule } from "./rules/rule.ts";
import { count, mapping, name, relationName, sql } from "./schema.ts";

/*
 * The YAML of a policy file. The `error` texts say what would be right: they become the hint of a problem. The
 * `describe` texts become hover texts in editors, through the JSON schema.
 */

const exactUser = name.regex(/^[^*?]+$/, { error: "A user's exact name: no wildcards here." });

const COST_HINT = "A whole number from 1 to 100.";

const SEARCHES_HINT =
  "A list of case, last4 and words, or lists by the version of the key from which on tokens carry them, as in { 1: [], 2: [case, words] }.";
const searchesSchema = z.array(z.enum(SEARCH_KINDS, { error: "case, last4 or words." }), {
  error: SEARCHES_HINT,
});

const classSchema = mapping(
  {
    mask: maskSchema,
    cost: z
      .number({ error: COST_HINT })
      .int({ error: COST_HINT })
      .min(1, { error: COST_HINT })
      .max(100, { error: COST_HINT })
      .optional()
      .meta({
        description:
          "How many people of a budget one counts for in a statement that reads this class in the clear, or looks " +
          "somebody up by it. 1 if left out.",
        examples: [5],
      }),
    stored: z
      .enum(["token", "email", "digits", "phone"], { error: "token, email, digits or phone." })
      .optional()
      .meta({
        description:
          "The database holds tokens in place of the values of this class: written values are sealed by the proxy under " +
          "--token-keys-file, and turned back for roles that see the class. Columns must be text or varchar, or for token bytea, " +
          "which holds sealed bytes. token: any text; " +
          "email: any text, whose token is an email address under token.invalid; digits: numbers of six digits or more, whose " +
          "token is such a number; phone: the same, and a country's code at the start stays. See docs/tokens.md.",
        examples: ["token", "email", "digits", "phone"],
      }),
    joinable: z
      .boolean({ error: "true or false." })
      .optional()
      .meta({
        description:
          "Of a class with stored: equal values have equal tokens in all of its columns, so that columns can be joined and " +
          "refer to each other. false if left out: equal within one column only.",
        examples: [true],
      }),
    searches: z
      .union(
        [
          searchesSchema,
          z.record(z.string().regex(/^[1-9][0-9]{0,3}$/, { error: SEARCHES_HINT }), searchesSchema, {
            error: SEARCHES_HINT,
          }),
        ],
        { error: SEARCHES_HINT },
      )
      .optional()
      .meta({
        description:
          "Of a class with stored: token: how its columns can be searched beside equality. case: without regard to case " +
          "(lower(email) = …, ILIKE without wildcards); last4: by the last four characters (right(phone, 4) = …, LIKE '%1234'); words: by " +
          "whole words (ILIKE '%anna%'). Tokens carry a keyed hash for each. For a column that holds tokens already, by the version of the " +
          "key from which on they do: see docs/tokens.md. Columns must be text, or varchar without a length.",
        examples: [["case", "words"], { 1: [], 2: ["case", "words"] }],
      }),
  },
  "A class as in { mask: redact }, or { mask: redact, cost: 5 }.",
);

const JSON_HINT =
  'Columns, paths and classes, as in { payload: { customer.email: email, "contacts[*].phone": phone } }.';

const tableSchema = mapping(
  {
    subject: name.optional().meta({
      description:
        "The column that names the person of a row: each distinct value counts as one person read. Or a path to " +
        "it over other tables' keys: ticket_id -> public.tickets.customer_id.",
      examples: ["id", "ticket_id -> public.tickets.customer_id"],
    }),
    columns: z
      .record(z.string(), name, { error: "Columns and their classes, as in { email: email }." })
      .optional()
      .meta({
        description: "Which class each protected column has: column name, then class name.",
        examples: [{ email: "email", phone: "phone" }],
      }),
    json: z
      .record(z.string(), z.record(z.string(), name, { error: JSON_HINT }), { error: JSON_HINT })
      .optional()
      .meta({
        description:
          "Strings inside of json and jsonb columns that are stored as tokens: column, then path, then a class with stored: token. " +
          "Dots stand between keys, [*] for every element of an array; other keys are put in double quotes. Everything else in the " +
          "document stays as it is. See docs/tokens.md.",
        examples: [{ payload: { "customer.email": "email", "contacts[*].phone": "phone" } }],
      }),
    allow_missing: z
      .boolean({ error: "true or false." })
      .optional()
      .meta({
        description:
          "The table, or a column that is named here, may be missing in the database, because it is made later. Without " +
          "it serve refuses the policy: a misspelt name would leave the real table unprotected.",
        examples: [true],
      }),
  },
  "A table as in { subject: id, columns: { email: email } }.",
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
  .meta({
    description:
      'Decoys: people who do not exist, by the table whose "subject" they are ("sluice canary make" writes some): ' +
      "their ids, or an SQL condition that marks their rows. " +
      "Reading one raises an alert. In groups, a decoy that leaks names the group that it was given to.",
    examples: [{ "public.customers": [9000001, 9000002] }],
  });

const FENCE_HINT =
  'As sluice policy learn writes it: { outside: alert, places: [{ from: [10.2.0.7], program: helpdesk }], statements: [{ shape: "SELECT 1", people: 0 }] }.';
const fenceSchema = mapping(
  {
    outside: z
      .enum(["observe", "alert", "mask", "refuse"], { error: "observe, alert, mask or refuse." })
      .describe(
        "What becomes of a statement that is not in the list, or comes from another place: a line in the log, an alert, an " +
          "alert and every class masked (beside acts_as), or an alert and a refusal.",
      ),
    places: z
      .array(
        mapping(
          {
            from: z.array(z.string(), { error: "A list of networks, as in [10.2.0.7]." }),
            program: z.string({ error: "application_name; * and ? are wildcards." }),
          },
          FENCE_HINT,
        ),
        { error: FENCE_HINT },
      )
      .describe("Networks (local for Unix sockets) and programs (application_name) that it comes from."),
    statements: z
      .array(
        mapping(
          {
            shape: z.string().min(1),
            people: count,
            tables: z.array(z.string(), { error: "A list of tables, as in [public.customers]." }).optional(),
          },
          FENCE_HINT,
        ),
        { error: FENCE_HINT },
      )
      .describe(
        "Statements without literals, as the audit log has them, and how many people one run shows at most. A hundred times as " +
          "many raise an alert. tables: what their names mean; under another search_path they mean something else, and are outside.",
      ),
  },
  FENCE_HINT,
);

const PEOPLE_HINT = "Users and their names in applications, as in { anna: [anna@example.com, agent-17] }.";

/** The schema of one policy file, given the rules that a role may use. */
export function policyFileSchemaOf(rules: readonly RoleRule[]) {
  return mapping(
    {
      version: z
        .literal(1, { error: "version: 1" })
        .meta({ description: "Version of this format: 1.", examples: [1] }),
      database: name.optional().meta({
        description: "The one database that this file speaks of. All databases if left out.",
        examples: ["support"],
      }),
      classes: z
        .record(name, classSchema, { error: "Classes by name, as in email: { mask: email }." })
        .optional()
        .meta({
          description: "What protected columns hold, and how that looks to those who may not see it.",
          examples: [{ email: { mask: "email" } }],
        }),
      tables: z
        .record(relationName, tableSchema, { error: "Tables by schema.table." })
        .optional()
        .meta({
          description: "Which columns are protected, and which column names the person of a row.",
          examples: [{ "public.customers": { subject: "id", columns: { email: "email" } } }],
        }),
      roles: z
        .record(name, roleSchema(rules), { error: "Roles by name." })
        .optional()
        .meta({
          description: "Who may do what.",
          examples: [{ agent: { users: ["anna"], reads: ["public.customers"] } }],
        }),
      people: z
        .record(name, z.array(name, { error: PEOPLE_HINT }), { error: PEOPLE_HINT })
        .optional()
        .meta({
          description:
            "By the name of a user: other names by which applications know the same person. What is read under any of them " +
            "is charged, recorded and suspended as the user.",
          examples: [{ anna: ["anna@example.com", "agent-17"] }],
        }),
      fences: z
        .record(name, fenceSchema, { error: FENCE_HINT })
        .optional()
        .meta({
          description:
            "By accounts: the statements that they run, and from where, as sluice policy learn writes them.",
          examples: [
            {
              helpdesk_app: {
                outside: "alert",
                places: [{ from: ["10.2.0.7"], program: "helpdesk" }],
                statements: [{ shape: "SELECT name FROM customers WHERE id = $1", people: 1 }],
              },
            },
          ],
        }),
      canaries: canariesSchema.optional(),
      on_canary: z
        .enum(["alert", "suspend"], { error: "alert or suspend." })
        .optional()
        .meta({
          description: "What happens when a user reads a decoy: alert (the default), or suspend.",
          examples: ["suspend"],
        }),
      token_canary: z
        .string({ error: '"sluice tokens canary" prints it.' })
        .regex(/^slt1_[1-9][0-9]{0,3}_[A-Za-z0-9_-]+$/, { error: '"sluice tokens canary" prints it.' })
        .optional()
        .meta({
          description:
            'A token of a known text, which "sluice tokens canary" prints. Needed with stored: serve does not start with a ' +
            "key ring that cannot read it.",
          examples: ["slt1_1_IYRMkGdmUZAcXm7sgY4Sx4U1KHPHc4U6Ux1MW0A2rJ3BdsKw"],
        }),
      unknown_users: name.optional().meta({
        description: "Users without a role: refuse (the default), or the name of a role.",
        examples: ["agent"],
      }),
      unclassified: z
        .enum(["show", "mask", "deny"], { error: "show, mask or deny." })
        .optional()
        .meta({
          description: "Columns without a class: show (the default), mask (NULL) or deny.",
          examples: ["deny"],
        }),
      admins: z
        .array(exactUser, { error: "A list of user names, as in [dba]." })
        .optional()
        .meta({
          description:
            "Users of the admin database (psql … sluice) who may also SUSPEND, RESUME, KILL and RELOAD.",
          examples: [["dba"]],
        }),
      auditors: z
        .array(exactUser, { error: "A list of user names, as in [officer]." })
        .optional()
        .meta({
          description:
            "Users of the admin database (psql … sluice) who may SHOW and EXPLAIN, and change nothing.",
          examples: [["officer"]],
        }),
      mode: z
        .enum(["enforce", "observe"], { error: "enforce or observe." })
        .optional()
        .meta({
          description: "enforce (the default), or observe: record what would happen and change nothing.",
          examples: ["observe"],
        }),
    },
    "A mapping with version, classes, tables and roles.",
  );
}

export const policyFileSchema = policyFileSchemaOf(ROLE_RULES);
export type PolicyFileSchema = typeof policyFileSchema;

export type PolicyFile = z.infer<typeof policyFileSchema>;

/** The JSON schema of a policy file, for editors (draft 7, which yaml-language-server reads). */
export function policyJsonSchema(): string {
  const schema = z.toJSONSchema(policyFileSchema, { target: "draft-7", io: "input" });
  return `${JSON.stringify({ title: "Sluice policy", ...schema }, null, 2)}\n`;
}
