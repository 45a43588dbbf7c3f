import { mkdir, rmdir, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";

/** Microseconds in which a process gets its share. */
const PERIOD = 10_000;

/**
 * Gives a process no more than a share of one CPU, by a control group of its own (Linux' cgroups, version 1 or 2).
 * Resolves with what takes the limit off again, once the process has ended; undefined where groups cannot be made.
 */
export async function limitCpu(pid: number, share: number): Promise<(() => Promise<void>) | undefined> {
  const quota = Math.round(PERIOD * share);
  const name = `sluice-bench-${pid}`;
  const isUnified = await stat("/sys/fs/cgroup/cgroup.controllers").then(
    () => true,
    () => false,
  );
  const folder = isUnified ? join("/sys/fs/cgroup", name) : join("/sys/fs/cgroup/cpu", name);
  try {
    await mkdir(folder);
    if (isUnified) {
      await writeFile(join(folder, "cpu.max"), `${quota} ${PERIOD}`);
    } else {
      await writeFile(join(folder, "cpu.cfs_period_us"), String(PERIOD));
      await writeFile(join(folder, "cpu.cfs_quota_us"), String(quota));
    }
    await writeFile(join(folder, "cgroup.procs"), String(pid));
  } catch {
    await rmdir(folder).catch(() => {});
    return undefined;
  }
  return async () => {
    await rmdir(folder).catch(() => {});
  };
}
