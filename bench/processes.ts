import { readdir, readFile } from "node:fs/promises";

/** USER_HZ: the unit of times in /proc, 100 on every Linux that Node runs on (proc(5)). */
const TICKS_PER_SECOND = 100;

/** What a process and all that it has started have used so far. */
export interface Usage {
  /** Seconds of CPU, user and system. */
  readonly cpu: number;
  /** Resident memory in kB; pages that forked processes share count for each. */
  readonly resident: number;
}

/** Of the process and its living descendants; of those that have ended as far as they were waited for. */
export async function usageOf(root: number): Promise<Usage> {
  const family = await familyOf(root);
  const usages = await Promise.all(family.map(usageOfOne));
  return {
    cpu: usages.reduce((sum, { cpu }) => sum + cpu, 0),
    resident: usages.reduce((sum, { resident }) => sum + resident, 0),
  };
}

/** The process and its living descendants. */
export async function familyOf(root: number): Promise<readonly number[]> {
  const children = new Map<number, number[]>();
  const pids = (await readdir("/proc")).filter((name) => /^\d+$/.test(name)).map(Number);
  for (const pid of pids) {
    const parent = Number((await statOf(pid))[1]);
    children.set(parent, [...(children.get(parent) ?? []), pid]);
  }
  const family = [root];
  // The list grows while it is walked.
  for (const pid of family) family.push(...(children.get(pid) ?? []));
  return family;
}

async function usageOfOne(pid: number): Promise<Usage> {
  const fields = await statOf(pid);
  // proc(5): utime, stime, cutime, cstime are fields 14 to 17; the state is field 3.
  const ticks = [11, 12, 13, 14].reduce((sum, at) => sum + Number(fields[at] ?? 0), 0);
  const status = await readFile(`/proc/${pid}/status`, "utf8").catch(() => "");
  return { cpu: ticks / TICKS_PER_SECOND, resident: Number(/^VmRSS:\s+(\d+) kB$/m.exec(status)?.[1] ?? 0) };
}

/** Fields from the state on: the name before it, in parentheses, may hold spaces. */
async function statOf(pid: number): Promise<readonly string[]> {
  const text = await readFile(`/proc/${pid}/stat`, "utf8").catch(() => "");
  return text.slice(text.lastIndexOf(")") + 2).split(" ");
}
