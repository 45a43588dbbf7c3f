import { expect, test } from "vitest";
import { Outbox } from "../../proxy/wire/outbox.ts";

/** The data that reaches the socket, one string per write. */
function flushed(outbox: Outbox): readonly string[] {
  const writes: string[] = [];
  outbox.flush({
    write: (bytes) => void writes.push(bytes.toString()),
    writeAll: (parts) => void writes.push(...parts.map(String)),
  });
  return writes;
}

test("adjacent messages become one piece without a copy", () => {
  const outbox = new Outbox();
  const bytes = Buffer.from("one two six");
  outbox.lend(bytes, 0, 4);
  outbox.lend(bytes, 4, 11);
  expect(flushed(outbox)).toEqual(["one two six"]);
});

test("shortened rows are moved together, and what came before them stays", () => {
  const outbox = new Outbox();
  const bytes = Buffer.from("row1xxrow22xxxrow3yy");
  outbox.lend(bytes, 0, 4);
  outbox.lend(bytes, 6, 11);
  outbox.send(Buffer.from("|notice|"));
  outbox.lend(bytes, 14, 18);
  expect(outbox.size).toBe(4 + 5 + 8 + 4);
  expect(flushed(outbox).join("")).toBe("row1row22|notice|row3");
});

test("data that has been written is not changed by later lends of the same bytes", () => {
  const outbox = new Outbox();
  const bytes = Buffer.from("firstxxxxsecond");
  outbox.lend(bytes, 0, 5);
  expect(flushed(outbox)).toEqual(["first"]);
  outbox.lend(bytes, 9, 15);
  expect(flushed(outbox)).toEqual(["second"]);
  expect(bytes.toString()).toBe("firstxxxxsecond");
});

test("a long message is lent in place", () => {
  const outbox = new Outbox();
  const bytes = Buffer.concat([Buffer.from("row"), Buffer.from("xx"), Buffer.alloc(5_000, "a")]);
  outbox.lend(bytes, 0, 3);
  outbox.lend(bytes, 5, bytes.length);
  expect(flushed(outbox).join("")).toBe(`row${"a".repeat(5_000)}`);
  expect(bytes.toString("latin1", 0, 6)).toBe("rowxxa");
});

test("nothing that was cleared is sent", () => {
  const outbox = new Outbox();
  outbox.send(Buffer.from("gone"));
  outbox.clear();
  expect(flushed(outbox)).toEqual([]);
});
