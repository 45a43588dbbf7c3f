import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join, posix } from "node:path";
import { expect, test } from "vitest";
import { parse } from "yaml";
import { runProgram } from "../harness/programs.ts";

const COMPOSE = join(import.meta.dirname, "../../deploy/compose");
const yaml = (path: string) => parse(readFileSync(join(COMPOSE, path), "utf8"), { merge: true });

interface Service {
  readonly build?: string;
  readonly volumes?: readonly string[];
  readonly environment?: Readonly<Record<string, string>>;
  readonly depends_on?: Readonly<Record<string, { readonly condition: string }>>;
  readonly healthcheck?: object;
}

const { services, volumes } = yaml("compose.yaml") as {
  readonly services: Readonly<Record<string, Service>>;
  readonly volumes: Readonly<Record<string, object>>;
};

/** What of this repository a container has under a path of its own. */
function mounted(service: string, path: string): string {
  for (const mount of services[service]?.volumes ?? []) {
    const [from = "", to = ""] = mount.split(":");
    const inside = posix.relative(to, path);
    if (!inside.startsWith("..")) return join(COMPOSE, from, inside);
  }
  throw new Error(`${service} has no ${path}`);
}

test("the compose file mounts and builds from what is there", () => {
  const mounts = Object.values(services).flatMap((service) => service.volumes ?? []);
  const sources = mounts.map((mount) => mount.split(":")[0] ?? "");
  const paths = sources.filter((source) => source.startsWith("."));
  expect(paths.length).toBeGreaterThan(4);
  for (const path of [...paths, services["sluice-1"]?.build ?? "no build"]) {
    expect(existsSync(join(COMPOSE, path)), path).toBe(true);
  }
  const named = sources.filter((source) => !source.startsWith("."));
  expect([...new Set(named)].sort()).toEqual(Object.keys(volumes).sort());
});

test("whoever waits for another's health waits for one that has a check", () => {
  for (const { depends_on = {} } of Object.values(services)) {
    for (const [other, { condition }] of Object.entries(depends_on)) {
      expect(condition).toBe("service_healthy");
      expect(services[other]?.healthcheck, other).toBeDefined();
    }
  }
});

test("Prometheus finds its configuration good, and in it each Sluice and the rules", async () => {
  const path = mounted("prometheus", "/etc/prometheus/prometheus.yml");
  const config = readFileSync(path, "utf8");
  const { rule_files, scrape_configs } = parse(config);
  expect(rule_files).toEqual(["/etc/prometheus/sluice/rules.yml"]);
  expect(mounted("prometheus", rule_files[0])).toBe(join(COMPOSE, "../../dashboards/rules.yml"));
  // The rules' alert "SluiceDown" asks for this name.
  const [{ job_name, static_configs }] = scrape_configs;
  expect(job_name).toBe("sluice");
  const sluices = Object.keys(services).filter((name) => name.startsWith("sluice-"));
  const ports = sluices.map((name) => services[name]?.environment?.SLUICE_ADMIN?.split(":")[1]);
  expect(static_configs[0].targets).toEqual(sluices.map((name, i) => `${name}:${ports[i]}`));
  const checked = await runProgram("promtool", ["check", "config", "--syntax-only", path]);
  expect(checked).toMatchObject({ code: 0, stderr: "" });
}, 120_000);

test("Grafana is given all dashboards and where to ask, and opens on the overview", () => {
  const { datasources } = parse(
    readFileSync(mounted("grafana", `${PROVISIONING}datasources/sluice.yaml`), "utf8"),
  );
  expect(datasources).toMatchObject([{ type: "prometheus", url: "http://prometheus:9090", isDefault: true }]);
  const { providers } = parse(
    readFileSync(mounted("grafana", `${PROVISIONING}dashboards/sluice.yaml`), "utf8"),
  );
  const folder = mounted("grafana", providers[0].options.path);
  expect(readdirSync(folder).filter((name) => name.endsWith(".json")).length).toBeGreaterThan(2);
  const home = services.grafana?.environment?.GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH ?? "";
  expect(existsSync(mounted("grafana", home))).toBe(true);
});

const PROVISIONING = "/etc/grafana/provisioning/";
