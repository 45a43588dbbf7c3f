import { inspect } from "node:util";
import { expect, test } from "vitest";
import { parseUpstream, type Upstream } from "../../proxy/wire/upstream.ts";

function upstream(text: string, env: Record<string, string> = {}): Upstream {
  const result = parseUpstream(text, env);
  if (!result.ok) throw new Error(result.problem);
  return result.upstream;
}

test("a URI is read as libpq reads it", () => {
  const target = upstream(
    "postgresql://an%40na:p%3Ass@db.example.com:6000/sup%20port?sslmode=verify-full&sslrootcert=/ca.pem&connect_timeout=3",
  );
  expect(target).toMatchObject({
    host: "db.example.com",
    port: 6000,
    database: "sup port",
    user: "an@na",
    sslmode: "verify-full",
    sslrootcert: "/ca.pem",
    connectTimeout: 3000,
  });
  expect(target.password()).toBe("p:ss");
});

test.each([
  ["postgres://", { host: "localhost", port: 5432, database: undefined, user: undefined, sslmode: "prefer" }],
  ["postgresql://anna@[::1]/x", { host: "::1", user: "anna", database: "x" }],
  ["postgresql://%2Frun%2Fpg:6000/x", { host: "/run/pg", port: 6000 }],
  ["postgresql:///x?host=/run/pg&user=anna", { host: "/run/pg", database: "x", user: "anna" }],
  [
    "host=db port = 6000 dbname='a b' user='o\\'neil'",
    { host: "db", port: 6000, database: "a b", user: "o'neil" },
  ],
  ["host=db sslmode=require gssencmode=disable", { host: "db", sslmode: "require" }],
  ["postgresql://db/x?ssl=true", { sslmode: "require" }],
  [
    "postgresql://h1,[::1]:6000/x?target_session_attrs=read-write",
    {
      hosts: [
        { host: "h1", port: 5432 },
        { host: "::1", port: 6000 },
      ],
      targetSessionAttrs: "read-write",
    },
  ],
  [
    "host=h1,h2 port=6000",
    {
      host: "h1",
      hosts: [
        { host: "h1", port: 6000 },
        { host: "h2", port: 6000 },
      ],
      targetSessionAttrs: "any",
    },
  ],
])("%s", (text, expected) => {
  expect(upstream(text)).toMatchObject(expected);
});

test("the password may come from PGPASSWORD, and inspecting the target does not show it", () => {
  const target = upstream("postgresql://anna@db/x", { PGPASSWORD: "hunter2" });
  expect(target.password()).toBe("hunter2");
  expect(inspect(target) + JSON.stringify(target)).not.toContain("hunter2");
  expect(upstream("postgresql://anna:own@db/x", { PGPASSWORD: "hunter2" }).password()).toBe("own");
});

test.each([
  ["host=h1,h2,h3 port=1,2 password=hunter2", "2 ports for 3 hosts"],
  ["postgresql://anna:hunter2@h1:1,h2:x/y", "port: must be a whole number"],
  ["postgresql://anna:hun@ter2@db/x", "not a libpq URI"],
  ["postgresql://anna:hunter2%zz@db/x", "percent sign"],
  ["postgresql://anna:hunter2@db:port/x", "port: must be a whole number"],
  ["postgresql://anna:hunter2@db/x?sslmode=sometimes", "sslmode: must be one of"],
  ["postgresql://anna:hunter2@db/x?sslmode=verify-full", "give sslrootcert"],
  ["postgresql://anna:hunter2@db/x?sslmode=require&sslrootcert=system", "needs sslmode=verify-full"],
  ["postgresql://anna:hunter2@db/x?sslnegotiation=direct", "needs sslmode=require"],
  ["postgresql://anna:hunter2@db/x?sslcert=a.pem", "give both or none"],
  ["postgresql://anna:hunter2@db/x?hunter2=1", "there is a parameter other than"],
  ["postgresql://db/x?application_name=sluice", "application_name: leave it out"],
  ["postgresql://db/x?options=-c%20jit%3Doff", "options: leave it out"],
  ["postgresql://db/x?passfile=/x", "passfile: leave it out"],
  ["postgresql://db/x?keepalives_interval=5", "keepalives_interval: leave it out"],
  ["postgresql://db/x?pgbouncer=true", "pgbouncer: leave it out"],
  ["postgresql://db/x?schema=public", "schema: leave it out"],
  ["postgresql://db/x?keepalives=0", "keepalives: only 1"],
  ["postgresql://db/x?sslsni=0", "sslsni: only 1"],
  ["postgresql://anna:hunter2@db/x?target_session_attrs=best", "target_session_attrs"],
  ["password=hunter2 'x", "neither a libpq URI nor pairs"],
  ["hunter2", "neither a libpq URI nor pairs"],
])("the problem is named, the password is not: %s", (text, problem) => {
  const result = parseUpstream(text, {});
  expect(result).toMatchObject({ ok: false, problem: expect.stringContaining(problem) });
  expect(inspect(result)).not.toContain("hunter2");
});

test("parameters with libpq's own default values are accepted", () => {
  const anyhow =
    "keepalives=1&sslcompression=0&sslsni=1&client_encoding=utf8&ssl_min_protocol_version=TLSv1.2&tcp_user_timeout=0&load_balance_hosts=disable";
  expect(parseUpstream(`postgresql://db/x?${anyhow}`, {}).ok).toBe(true);
});
