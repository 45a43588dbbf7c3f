import { type ChildProcess, execFile, spawn } from "node:child_process";
import { copyFileSync, existsSync, lstatSync, mkdirSync, readlinkSync, symlinkSync } from "node:fs";
import { dirname, join } from "node:path";
import { promisify } from "node:util";

/** Of this machine, in the place of a base image: its programs and libraries, and what a name lookup reads. */
const PROGRAMS = ["/usr", "/bin", "/sbin", "/lib", "/lib64"];
const FILES = ["/etc/resolv.conf", "/etc/hosts", "/etc/nsswitch.conf", "/etc/passwd", "/etc/group"];

/** A root of its own, without a container engine: the folder, the machine's programs read-only, /dev and /proc. */
export interface Chroot {
  readonly root: string;
  /** Where a path of the inside is on the outside. */
  outside(path: string): string;
  /** Runs a shell's command to its end, as root. */
  run(command: string, how: Mounted): Promise<void>;
  /** Starts a program as this user; only these folders can be written to. */
  start(words: readonly string[], how: Confined): ChildProcess;
}

interface Surroundings {
  readonly workdir: string;
  readonly env: Readonly<Record<string, string>>;
}

export interface Mounted extends Surroundings {
  /** Folders of this machine, and where they are inside. */
  readonly mounts: Readonly<Record<string, string>>;
}

export interface Confined extends Surroundings {
  /** `uid:gid`. */
  readonly user: string;
  readonly writable: readonly string[];
}

export function makeChroot(root: string, files: readonly string[]): Chroot {
  const outside = (path: string) => join(root, path);
  for (const path of ["/proc", "/dev", "/tmp"]) mkdirSync(outside(path), { recursive: true });
  for (const path of PROGRAMS.filter((each) => existsSync(each))) {
    if (lstatSync(path).isSymbolicLink()) symlinkSync(readlinkSync(path), outside(path));
    else mkdirSync(outside(path), { recursive: true });
  }
  for (const file of [...FILES, ...files].filter((each) => existsSync(each))) {
    mkdirSync(dirname(outside(file)), { recursive: true });
    copyFileSync(file, outside(file));
  }
  return {
    root,
    outside,
    async run(command, { workdir, env, mounts }) {
      const inside = ["chroot", root, "sh", "-c", `cd ${workdir} && ${command}`];
      for (const [from, to] of Object.entries(mounts)) {
        for (const folder of [from, outside(to)]) mkdirSync(folder, { recursive: true });
      }
      const steps = Object.entries(mounts).map(([from, to]) => bind(from, outside(to)));
      await promisify(execFile)("unshare", namespace(root, steps, inside), {
        env,
        maxBuffer: 16 * 1024 * 1024,
      });
    },
    start(words, { workdir, user, writable, env }) {
      const program = ["sh", "-c", `cd ${workdir} && exec "$@"`, "sh", ...words];
      const inside = ["chroot", `--userspec=${user}`, "--groups=", root, ...program];
      const steps = [
        `mount -o remount,bind,ro '${root}'`,
        ...writable
          .map(outside)
          .flatMap((folder) => [bind(folder, folder), `mount -o remount,bind,rw '${folder}'`]),
      ];
      const ending = ["--fork", "--pid", "--kill-child"];
      const stdio: ("ignore" | "pipe")[] = ["ignore", "pipe", "pipe"];
      // A group of its own: whoever changes its user is no longer told when its parent dies (prctl(2), PR_SET_PDEATHSIG).
      return spawn("unshare", [...ending, ...namespace(root, steps, inside)], { env, stdio, detached: true });
    },
  };
}

const bind = (from: string, to: string) => `mount --rbind '${from}' '${to}'`;

/** Arguments of unshare: mounts of its own, these steps among them, which go when the command ends. */
function namespace(root: string, steps: readonly string[], command: readonly string[]): readonly string[] {
  const programs = PROGRAMS.filter((path) => existsSync(path) && !lstatSync(path).isSymbolicLink());
  const script = [
    "set -e",
    bind(root, root),
    ...[...programs, "/dev", "/proc"].map((path) => bind(path, join(root, path))),
    ...steps,
    'exec "$@"',
  ].join("\n");
  return ["--mount", "--propagation", "private", "sh", "-c", script, "sh", ...command];
}
