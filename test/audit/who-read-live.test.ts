import { rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { expect, test, vi } from "vitest";
import { auditKeys } from "../../proxy/audit/audit-keys.ts";
import { listSegments, readSegment } from "../../proxy/audit/segments.ts";
import { hashesOfOne } from "../../proxy/audit/subject-list.ts";
import { whoRead } from "../../proxy/audit/who-read.ts";
import { KEY, makeFolder, openLog, reading } from "./support.ts";

const NAMESPACE = "public.customers.id";

// The proxy whose log is asked goes on writing it: it compresses a segment right after it was listed.
vi.mock(import("../../proxy/audit/segments.ts"), async (load) => {
  const original = await load();
  return {
    ...original,
    async listSegments(folder: string) {
      const listed = await original.listSegments(folder);
      for (const file of listed) if (!file.compressed) await original.compress(folder, file);
      return listed;
    },
  };
});

test("a segment that is compressed while the log is asked is read", async () => {
  const folder = await makeFolder();
  const { log } = await openLog(folder);
  log.write(reading({ user: "thief", subjects: [log.hashSubject(NAMESPACE, "7")], people: 1 }));
  await log.close();
  // As it was before the log compressed it.
  const [closed] = await listSegments(folder);
  if (closed === undefined) throw new Error("no segment");
  await writeFile(join(folder, closed.name.slice(0, -".gz".length)), await readSegment(closed));
  await rm(closed.path);
  const answer = await whoRead(
    {
      ...{ folder, period: { since: 0, until: Number.POSITIVE_INFINITY }, keys: [auditKeys(KEY)] },
      counted: { needs: [], unexplainedOnly: false },
    },
    async () => ({
      leaked: [{ hashes: hashesOfOne("7", NAMESPACE, [auditKeys(KEY)]), stratum: 0 }],
      ...{ controls: undefined, tables: [] },
    }),
  );
  expect(answer).toMatchObject({
    suspects: [{ user: "thief", leaked: 1 }],
    notCovered: { unreadable: [] },
  });
});

test("and verified", async () => {
  const folder = await makeFolder();
  const { log } = await openLog(folder);
  await log.flush();
  const [file, ...others] = await listSegments(folder);
  if (file === undefined) throw new Error("no segment");
  expect([file.compressed, others]).toEqual([false, []]);
  expect((await readSegment(file)).toString("utf8")).toContain("segment opened");
});
