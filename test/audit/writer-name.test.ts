import { readdir } from "node:fs/promises";
import { expect, test } from "vitest";
import { listSegments } from "../../proxy/audit/segments.ts";
import { login, makeFolder, openLog } from "./support.ts";

async function filesAfterAStart(folder: string): Promise<readonly string[]> {
  const { log } = await openLog(folder);
  log.write(login("s"));
  await log.close();
  return (await readdir(folder)).filter((name) => name.startsWith("audit-2"));
}

test("two proxies on one host with folders of their own write no file of the same name", async () => {
  const [one, other] = [await makeFolder(), await makeFolder()];
  const names = [...(await filesAfterAStart(one)), ...(await filesAfterAStart(other))];
  expect(new Set(names).size).toBe(2);
});

test("a proxy that is started again goes on with its folder's chain", async () => {
  const folder = await makeFolder();
  await filesAfterAStart(folder);
  await filesAfterAStart(folder);
  const segments = await listSegments(folder);
  expect(new Set(segments.map(({ writer }) => writer)).size).toBe(1);
  expect(segments.map(({ number }) => number)).toEqual([1, 2]);
});
