import { watch as watchDirectory } from "node:fs";
import { mkdir, mkdtemp, rename, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import type { PolicySet } from "../../proxy/policy/compile.ts";
import { loadPolicies } from "../../proxy/policy-files/load.ts";
import {
  type PolicyWatch,
  type WatchEnvironment,
  watchPolicies,
} from "../../proxy/policy-files/watch-files.ts";

let folder: string;
let watching: PolicyWatch | undefined;

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "sluice-watch-"));
});

afterEach(async () => {
  watching?.close();
  watching = undefined;
  await rm(folder, { recursive: true, force: true });
});

type Told = { readonly loaded: string } | { readonly rejected: number };

/** The events that handlers received, to be awaited one by one. */
class Diary {
  readonly #told: Told[] = [];
  #waiting: ((told: Told) => void) | undefined;

  write(told: Told): void {
    const waiting = this.#waiting;
    this.#waiting = undefined;
    if (waiting === undefined) this.#told.push(told);
    else waiting(told);
  }

  next(): Promise<Told> {
    const told = this.#told.shift();
    if (told !== undefined) return Promise.resolve(told);
    return new Promise((resolve) => {
      this.#waiting = resolve;
    });
  }

  get unread(): readonly Told[] {
    return this.#told;
  }
}

/** Real file system events; time passes only when the test says so. */
class HandWound implements WatchEnvironment {
  readonly timers = new Map<symbol, { readonly milliseconds: number; readonly run: () => void }>();
  #woken: (() => void) | undefined;
  readonly #events: "real" | "none";

  constructor(events: "real" | "none") {
    this.#events = events;
  }

  after(milliseconds: number, run: () => void): () => void {
    const id = Symbol();
    this.timers.set(id, { milliseconds, run });
    if (milliseconds < 1000) this.#woken?.();
    return () => this.timers.delete(id);
  }

  watch(directory: string, changed: () => void): () => void {
    if (this.#events === "none") return () => undefined;
    const watcher = watchDirectory(directory, changed);
    return () => watcher.close();
  }

  /** Runs the timers of the debounce (short) or the poll (long). */
  elapse(which: "debounce" | "poll"): void {
    for (const [id, { milliseconds, run }] of [...this.timers]) {
      if (which === "debounce" ? milliseconds >= 1000 : milliseconds < 1000) continue;
      this.timers.delete(id);
      run();
    }
  }

  /** Resolves when a change has been noticed. */
  noticed(): Promise<void> {
    if ([...this.timers.values()].some(({ milliseconds }) => milliseconds < 1000)) return Promise.resolve();
    return new Promise((resolve) => {
      this.#woken = resolve;
    });
  }
}

async function start(path: string, environment?: WatchEnvironment): Promise<Diary> {
  const loaded = await loadPolicies(path);
  if (!loaded.ok) throw new Error("the test's first policy is wrong");
  const diary = new Diary();
  watching = watchPolicies(
    path,
    {
      initial: loaded.policies,
      onLoaded: (policies) => diary.write({ loaded: modeOf(policies) }),
      onRejected: (problems) => diary.write({ rejected: problems.length }),
    },
    ...(environment === undefined ? [] : ([environment] as const)),
  );
  // Waits for the first load; it finds what is already in force, and this load reports it.
  await watching.reload();
  expect(await diary.next()).toEqual({ loaded: modeOf(loaded.policies) });
  return diary;
}

function modeOf(policies: PolicySet): string {
  return policies.forDatabase("any").mode;
}

const OBSERVE = "version: 1\nmode: observe\n";
const ENFORCE = "version: 1\nmode: enforce\n";
const WRONG = "version: 1\nmode: enforced\n";

test("a saved file comes into force, also when an editor writes another and renames it, repeatedly", async () => {
  const file = join(folder, "a.yaml");
  await writeFile(file, ENFORCE);
  const diary = await start(file);
  for (const [text, mode] of [
    [OBSERVE, "observe"],
    [ENFORCE, "enforce"],
    [OBSERVE, "observe"],
  ] as const) {
    await writeFile(join(folder, ".a.yaml.swp"), text);
    await rename(join(folder, ".a.yaml.swp"), file);
    expect(await diary.next()).toEqual({ loaded: mode });
  }
  await writeFile(file, ENFORCE);
  expect(await diary.next()).toEqual({ loaded: "enforce" });
});

test("each swap of a Kubernetes ConfigMap comes into force, not only the first", async () => {
  const version = async (name: string, text: string) => {
    await mkdir(join(folder, name));
    await writeFile(join(folder, name, "a.yaml"), text);
    await symlink(name, join(folder, "..data_tmp"));
    await rename(join(folder, "..data_tmp"), join(folder, "..data"));
  };
  await version("..2026_01", ENFORCE);
  await symlink(join("..data", "a.yaml"), join(folder, "a.yaml"));
  const diary = await start(folder);
  await version("..2026_02", OBSERVE);
  await rm(join(folder, "..2026_01"), { recursive: true });
  expect(await diary.next()).toEqual({ loaded: "observe" });
  await version("..2026_03", ENFORCE);
  await rm(join(folder, "..2026_02"), { recursive: true });
  expect(await diary.next()).toEqual({ loaded: "enforce" });
});

test("a bad policy never replaces a good one", async () => {
  const file = join(folder, "a.yaml");
  await writeFile(file, OBSERVE);
  const diary = await start(folder);
  const before = watching?.current;
  await writeFile(file, WRONG);
  expect(await diary.next()).toEqual({ rejected: 1 });
  expect(watching?.current).toBe(before);
  await rm(file);
  expect(await diary.next()).toEqual({ rejected: 1 });
  expect(watching?.current).toBe(before);
  await writeFile(file, ENFORCE);
  expect(await diary.next()).toEqual({ loaded: "enforce" });
});

test("a policy with problems does not come into force, and is checked again without a change", async () => {
  const file = join(folder, "a.yaml");
  await writeFile(file, ENFORCE);
  const loaded = await loadPolicies(file);
  if (!loaded.ok) throw new Error("the test's first policy is wrong");
  const clock = new HandWound("none");
  const diary = new Diary();
  let against: readonly string[] = [];
  let checked = () => {};
  watching = watchPolicies(
    file,
    {
      initial: loaded.policies,
      onLoaded: (policies) => diary.write({ loaded: modeOf(policies) }),
      onRejected: (problems) => diary.write({ rejected: problems.length }),
      check: async () => {
        checked();
        const place = { file, line: 1, column: 1 };
        return against.map((message) => ({ severity: "error", place, message, hint: "" }));
      },
    },
    clock,
  );
  const again = async () => {
    const done = new Promise<void>((resolve) => {
      checked = resolve;
    });
    clock.elapse("poll");
    await done;
  };
  // After the first load, which finds what is already in force.
  await watching.reload();
  expect(await diary.next()).toEqual({ loaded: "enforce" });
  against = ["one"];
  await writeFile(file, OBSERVE);
  await again();
  expect(await diary.next()).toEqual({ rejected: 1 });
  // The same problems are reported once.
  await again();
  against = ["one", "two"];
  await again();
  expect(await diary.next()).toEqual({ rejected: 2 });
  expect(modeOf(watching.current)).toBe("enforce");
  against = [];
  await again();
  expect(await diary.next()).toEqual({ loaded: "observe" });
  expect(diary.unread).toEqual([]);
});

test("many events of one save cause one load, and a save that changes nothing causes none", async () => {
  const file = join(folder, "a.yaml");
  await writeFile(file, ENFORCE);
  const clock = new HandWound("real");
  const diary = await start(folder, clock);
  await writeFile(file, WRONG);
  await writeFile(file, OBSERVE);
  await clock.noticed();
  expect(diary.unread).toEqual([]);
  clock.elapse("debounce");
  expect(await diary.next()).toEqual({ loaded: "observe" });
  await writeFile(file, OBSERVE);
  await clock.noticed();
  clock.elapse("debounce");
  // Loads run one after the other: when this one is done, so is the silent one.
  await watching?.reload();
  expect(await diary.next()).toEqual({ loaded: "observe" });
  expect(diary.unread).toEqual([]);
});

test("without events, as on network file systems, the poll finds the change", async () => {
  const file = join(folder, "a.yaml");
  await writeFile(file, ENFORCE);
  const clock = new HandWound("none");
  const diary = await start(folder, clock);
  await writeFile(file, OBSERVE);
  clock.elapse("poll");
  expect(await diary.next()).toEqual({ loaded: "observe" });
  clock.elapse("poll");
  await watching?.reload();
  expect(await diary.next()).toEqual({ loaded: "observe" });
  expect(diary.unread).toEqual([]);
});

test("a change between the first load and the watch is not missed", async () => {
  const file = join(folder, "a.yaml");
  await writeFile(file, ENFORCE);
  const loaded = await loadPolicies(folder);
  if (!loaded.ok) throw new Error("the test's first policy is wrong");
  await writeFile(file, OBSERVE);
  const diary = new Diary();
  watching = watchPolicies(
    folder,
    {
      initial: loaded.policies,
      onLoaded: (policies) => diary.write({ loaded: modeOf(policies) }),
      onRejected: (problems) => diary.write({ rejected: problems.length }),
    },
    new HandWound("none"),
  );
  expect(await diary.next()).toEqual({ loaded: "observe" });
});

test("a requested reload is answered even if nothing has changed, and nothing is reported after close", async () => {
  await writeFile(join(folder, "a.yaml"), ENFORCE);
  const clock = new HandWound("none");
  const diary = await start(folder, clock);
  await watching?.reload();
  expect(await diary.next()).toEqual({ loaded: "enforce" });
  watching?.close();
  await writeFile(join(folder, "a.yaml"), OBSERVE);
  await watching?.reload();
  expect(diary.unread).toEqual([]);
  expect(clock.timers.size).toBe(0);
});
