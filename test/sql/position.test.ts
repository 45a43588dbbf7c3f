import fc from "fast-check";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { applyEdits } from "../../proxy/sql/emit/rewrite.ts";
import { Source } from "../../proxy/sql/parse/source.ts";
import { mapPosition } from "../../proxy/sql/position.ts";
import type { Edit } from "../../proxy/sql/verdict.ts";
import { serverUri } from "../harness/postgres.ts";
import { type Agent, openAgent } from "./same.ts";

/** A part of the client's text, and what the rewrite replaces it by; undefined: it stays. */
const stretch = fc.record({
  text: fc.string({ unit: fc.constantFrom("a", " ", "é", "€", "😀", "\n"), maxLength: 6 }),
  injected: fc.option(fc.string({ unit: fc.constantFrom("x", "ü", "😀"), maxLength: 8 }), { nil: undefined }),
});

describe("an error's position refers to the client's own text", () => {
  test("unchanged text keeps the client's position; injected text has the position of its insertion", () => {
    fc.assert(
      fc.property(fc.array(stretch, { maxLength: 8 }), (stretches) => {
        const client = stretches.map(({ text }) => text).join("");
        const edits: Edit[] = [];
        /** For each character of the rewritten text, the corresponding character of the client's. */
        const expected: number[] = [];
        let [bytes, characters] = [0, 0];
        for (const { text, injected } of stretches) {
          const [end, length] = [bytes + Buffer.byteLength(text), [...text].length];
          if (injected === undefined)
            expected.push(...Array.from({ length }, (_, index) => characters + index));
          else {
            edits.push({ at: bytes, end, text: injected });
            expected.push(...[...injected].map(() => characters));
          }
          [bytes, characters] = [end, characters + length];
        }
        const rewritten = applyEdits(new Source(client), edits);
        expect([...rewritten.sql.toString()]).toHaveLength(expected.length);
        expected.forEach((character, index) => {
          const mapped = mapPosition(Buffer.from(client), rewritten.sql, rewritten.edits, index + 1);
          expect(mapped).toBe(character + 1);
        });
      }),
    );
  });

  test("a position beyond the text is undefined", () => {
    expect(
      mapPosition(Buffer.from("a"), Buffer.from("abc"), [{ at: 1, end: 1, text: "bc" }], 5),
    ).toBeUndefined();
  });

  describe("on the real server", () => {
    let agent: Agent;
    beforeAll(async () => {
      agent = await openAgent(serverUri());
    });
    afterAll(() => agent.close());

    test.each([
      "SELECT id, !nothing FROM customers",
      "SELECT 'é😀', c.!nothing FROM customers c JOIN tickets t ON t.customer_id = c.id",
      "SELECT c.id FROM customers c, tickets t WHERE t.customer_id = c.id AND t.status !@@ 4",
      "SELECT email FROM customers WHERE email = 'a' AND !lower(id) = 'x'",
      "SELECT c.id FROM customers c GROUP BY c.country HAVING !nothing > 1",
      "SELECT count(*) FROM tickets; SELECT !nothing FROM customers",
      "WITH q AS (SELECT email FROM customers) SELECT email, !id FROM q",
      "SELECT id FROM customers ORDER BY !nothing",
    ])("%s", async (marked) => {
      const sql = marked.replace("!", "");
      const place = [...marked].indexOf("!") + 1;
      // Errors about qualified references point to their first part.
      const start = marked.includes("c.!") ? place - 2 : place;
      expect(agent.judge(sql).kind).toBe("rewrite");
      expect(await agent.guarded(sql)).toMatchObject({
        error: expect.stringMatching(/^42/),
        position: start,
      });
    });
  });
});
