import { isIP } from "node:net";
import { z } from "zod";
import { count, mapping, name, relationName } from "./schema.ts";

/* The YAML of a file of expectations; its texts are used like those of format.ts. */

/** Expectations that apply to a refused statement; all others apply to an allowed one. */
export const OF_REFUSALS: ReadonlySet<string> = new Set(["error", "rule"]);

const EXPECT_HINT =
  'allowed, unchanged, refused, or a mapping, as in { masked: [email] } or { error: "42501" }.';

const PIECES_HINT = "A piece of SQL, or a list of them.";
const piece = z.string({ error: PIECES_HINT }).min(1, { error: PIECES_HINT });
const pieces = z.union([piece, z.array(piece)], { error: PIECES_HINT });

const relations = z.array(relationName, { error: "A list of tables, as in [public.customers]." });

const findings = mapping(
  {
    error: z
      .string({ error: 'An SQLSTATE, in quotes: "42501".' })
      .regex(/^[0-9A-Z]{5}$/, { error: 'An SQLSTATE of five letters and digits: "42501".' })
      .optional()
      .describe('It is refused, with this SQLSTATE (in quotes: "42501").'),
    rule: name
      .optional()
      .describe("It is refused by this line of the policy, as in roles.agent.require_filter."),
    masked: z
      .array(name, { error: "A list of classes, as in [email, phone]; [] for none." })
      .optional()
      .describe("The classes that it names, or gives out, masked: exactly these."),
    reads: relations.optional().describe("The tables that it reads: exactly these."),
    writes: relations.optional().describe("The tables that it writes: exactly these."),
    counts: z
      .array(name, { error: "A list of subjects, as in [public.customers.id]; [] for none." })
      .optional()
      .describe(
        'Whose people it counts, as in public.customers.id, and "unknown" for rows without an identity.',
      ),
    lookups: count.optional().describe("How many exact lookups of masked columns it makes."),
    reveals: z
      .array(name, { error: "A list of classes, as in [phone]; [] for none." })
      .optional()
      .describe("The classes stored as tokens that it turns back for the user: exactly these."),
    rows: z
      .union([count, z.literal("none")], { error: "A whole number, or none." })
      .optional()
      .describe("After how many rows it ends: the role's limit, or none where it does not hold."),
    sent: pieces.optional().describe("What the text sent to the server must contain."),
    not_sent: pieces.optional().describe("What the text sent to the server must not contain."),
  },
  EXPECT_HINT,
);

const testSchema = mapping(
  {
    name: name.optional().describe("What the policy promises, in words."),
    as: name.describe("The user who sends the statement."),
    from: z
      .string({ error: "An address, as in 10.2.0.7." })
      .refine((text) => isIP(text) !== 0, { error: "An address, as in 10.2.0.7." })
      .optional()
      .describe("Where the user comes from (127.0.0.1)."),
    person: name
      .optional()
      .describe(
        "The person for whom the user, an application, reads (people_behind). Nobody is named if left out.",
      ),
    claims: z
      .array(z.string(), { error: "A list of texts, as in [support]." })
      .optional()
      .describe("What the claim of the person's token holds that gives roles (acts_as)."),
    run: z
      .string({ error: "One statement, or several in one text." })
      .describe("The statement. It is judged and not run."),
    expect: z
      .union([z.enum(["allowed", "unchanged", "refused"]), findings], { error: EXPECT_HINT })
      .describe(
        "What becomes of it. refused: by the policy, not for a mistake in the statement. Else it has to be allowed.",
      ),
  },
  "A mapping with as, run and expect.",
);

const testsSchema = z
  .array(testSchema, { error: "A list of expectations: - { as: anna, run: select 1, expect: allowed }" })
  .min(1, { error: "At least one expectation." });

const testMapping = mapping(
  {
    database: name
      .optional()
      .describe("The database whose policy is tested. That of --upstream, or any, if left out."),
    schema: z
      .string({ error: "SQL that makes the tables: CREATE TABLE …" })
      .optional()
      .describe("SQL that makes the tables, in a database made for the test. Not used with --upstream."),
    tests: testsSchema,
  },
  "A mapping with schema and tests.",
);

/** One file of expectations: a list of them, or a mapping with setup before them. */
export const testFileSchema = z.union([testMapping, testsSchema], {
  error: "A list of expectations, or a mapping with schema and tests.",
});

export type TestFileContent = z.infer<typeof testMapping>;
export type TestEntry = TestFileContent["tests"][number];
export type Findings = z.infer<typeof findings>;

/** The JSON schema of a file of expectations, for editors. */
export function testJsonSchema(): string {
  const schema = z.toJSONSchema(testFileSchema, { target: "draft-7", io: "input", reused: "ref" });
  return `${JSON.stringify({ title: "Sluice policy tests", ...schema }, null, 2)}\n`;
}
