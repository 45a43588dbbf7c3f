import { expect, test } from "vitest";
import { parseRedisUrl } from "../../proxy/fleet/redis-url.ts";

test.each([
  ["redis://cache", { kind: "single", tls: false, hosts: [{ host: "cache", port: 6379 }], db: 0 }],
  [
    "rediss://sluice:p%40ss%2Fword@cache:6380/3",
    {
      kind: "single",
      tls: true,
      hosts: [{ host: "cache", port: 6380 }],
      username: "sluice",
      password: "p@ss/word",
      db: 3,
    },
  ],
  ["redis://:secret@[::1]:7000", { hosts: [{ host: "::1", port: 7000 }], password: "secret" }],
  [
    "redis+cluster://a:7000,b:7001",
    {
      kind: "cluster",
      hosts: [
        { host: "a", port: 7000 },
        { host: "b", port: 7001 },
      ],
    },
  ],
  [
    "redis+sentinel://:pw@a,b:5000/main/2",
    {
      kind: "sentinel",
      primary: "main",
      db: 2,
      hosts: [
        { host: "a", port: 26379 },
        { host: "b", port: 5000 },
      ],
    },
  ],
  [
    "redis+sentinel://:pw@a/main?sentinel=watch:s%3Acret",
    { password: "pw", sentinel: { username: "watch", password: "s:cret" } },
  ],
])("%s is understood", (url, address) => {
  expect(parseRedisUrl(url)).toMatchObject(address);
});

test.each([
  "http://cache",
  "redis://",
  "redis://a,b",
  "redis://:hidden@cache/one",
  "redis://:hidden@cache?db=1",
  "redis://:hid%zzden@cache",
  "redis+sentinel://:hidden@a,b",
  "redis+cluster://:hidden@a/1",
  "redis+sentinel://:hidden@a/main?password=hidden",
  "redis+cluster://a?sentinel=:hidden",
])("%s is refused without repeating it", (url) => {
  expect(() => parseRedisUrl(url)).toThrow(/Redis/);
  expect(() => parseRedisUrl(url)).not.toThrow(/hidden|hid%/);
});
