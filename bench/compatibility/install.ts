import { execFile } from "node:child_process";
import { createHash } from "node:crypto";
import { access, mkdir, rename, rm, writeFile } from "node:fs/promises";
import { delimiter, join } from "node:path";
import { promisify } from "node:util";
import { CACHE, unpackTogether } from "../../test/harness/debian.ts";

const run = promisify(execFile);

/** Where a client's packages are, and what its programs need in their environment to find them. */
export interface Installed {
  readonly folder: string;
  readonly environment: Readonly<Record<string, string>>;
}

/**
 * npm packages (`name@version`), beside a folder `program` of their own for the programs that import them. In the cache, not in
 * the repository; kept until another version is asked for. No package's script runs.
 */
export async function installFromNpm(packages: readonly string[]): Promise<Installed> {
  const folder = join(CACHE, `compatibility-${mark(packages)}`);
  if (!(await exists(join(folder, "complete")))) {
    await rm(folder, { recursive: true, force: true });
    await mkdir(folder, { recursive: true });
    await writeFile(join(folder, "package.json"), '{ "private": true, "type": "module" }\n');
    await run("npm", ["install", "--ignore-scripts", "--no-audit", "--no-fund", ...packages], {
      cwd: folder,
    });
    await writeFile(join(folder, "complete"), "");
  }
  return { folder, environment: {} };
}

/** Debian packages with what they depend on, unpacked (not installed) into the cache. Fails where there is no apt-get. */
export async function installFromDebian(packages: readonly string[]): Promise<Installed> {
  const folder = join(CACHE, `compatibility-${mark(packages)}`);
  if (!(await exists(folder))) {
    const fresh = `${folder}.${process.pid}`;
    await unpackTogether(packages, fresh);
    await rename(fresh, folder);
  }
  return { folder, environment: environmentOf(folder) };
}

/** Ruby looks in none of its own folders once it is told of another. */
const GEMS = ["share/rubygems-integration/all", "share/rubygems-integration/3.1.0", "lib/ruby/gems/3.1.0"];

/** Interpreters know the folders of the installed packages alone; these variables name those below `root`, which win. */
function environmentOf(root: string): Readonly<Record<string, string>> {
  const usr = join(root, "usr");
  const triplet = `${process.arch === "arm64" ? "aarch64" : "x86_64"}-linux-gnu`;
  const list = (...folders: readonly string[]) => folders.map((folder) => join(usr, folder)).join(delimiter);
  return {
    PATH: [list("bin", "lib/go/bin"), process.env.PATH].join(delimiter),
    LD_LIBRARY_PATH: list(`lib/${triplet}`, `lib/${triplet}/odbc`),
    PYTHONPATH: list("lib/python3/dist-packages"),
    RUBYLIB: list(
      ...["3.1.0", "3.3.0"].flatMap((version) => [`lib/ruby/${version}`, `lib/${triplet}/ruby/${version}`]),
      ...["3.1.0", "3.3.0"].map((version) => `lib/${triplet}/ruby/vendor_ruby/${version}`),
      "lib/ruby/vendor_ruby",
    ),
    GEM_PATH: [
      list(...GEMS, `lib/${triplet}/rubygems-integration/3.1.0`),
      ...GEMS.map((folder) => `/usr/${folder}`),
    ].join(delimiter),
    PERL5LIB: list(`lib/${triplet}/perl5/5.36`, `lib/${triplet}/perl5`, "share/perl5"),
    GOPATH: [list("share/gocode"), "/usr/share/gocode"].join(delimiter),
    // Debian's Go libraries lie in a GOPATH.
    GO111MODULE: "off",
    TCLLIBPATH: list("lib", "share/tcltk"),
    COMPAT_ROOT: root,
  };
}

function mark(packages: readonly string[]): string {
  return createHash("sha256").update(packages.join(" ")).digest("hex").slice(0, 12);
}

function exists(path: string): Promise<boolean> {
  return access(path).then(
    () => true,
    () => false,
  );
}
