import { once } from "node:events";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { expect, onTestFinished, test } from "vitest";
import { z } from "zod";
import type { Alert } from "../../proxy/behaviour/alert.ts";
import { Webhook } from "../../proxy/behaviour/webhook.ts";
import { createLog } from "../../proxy/log.ts";

const HOSTILE = "<!channel> *x* `y` & <https://evil.example|click>\u0007\u202e";
const alert: Alert = {
  ...{ id: "a1", time: Date.UTC(2026, 4, 6, 12), rule: "dump", severity: "high", action: "tighten" },
  ...{ user: HOSTILE, account: "helpdesk", role: "agent", database: "support", client: "10.0.0.1" },
  ...{ session: "s1", application: "x".repeat(5_000), reference: "R1", figure: 5, ordinary: 1 },
  ...{ tables: ["public.customers"], shown: ["email"], text: "5 statements that asked for far too much" },
  today: { people: 120, newPeople: 90, usualNewPeople: 30, budget: 300 },
  others: ["ben", "cleo"],
  next: { what: "See whom they have read.", command: "sluice audit read-by 'a`b' --since 2026-05-06" },
  console: "https://sluice.internal/console/user?name=a&b=c",
};
const house: Alert = {
  ...{ id: "a2", time: 1, rule: "audit", severity: "critical", action: "alert" },
  text: "the audit log cannot be written",
  next: { what: "Give the disk room.", command: "df -h" },
};

/** Posts to a receiver that reads as strictly as the service's own documentation, and gives what it got. */
async function posted(one: Alert, options: { format: "slack" | "pagerduty"; routingKey?: string }) {
  const bodies: string[] = [];
  const headers: Record<string, unknown>[] = [];
  const server = createServer(async (request, response) => {
    let body = "";
    for await (const chunk of request) body += String(chunk);
    bodies.push(body);
    headers.push(request.headers);
    response.writeHead(202).end();
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  onTestFinished(() => void server.close());
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/`;
  const hook = new Webhook({ url, log: createLog({ level: "silent" }), ...options });
  hook.send(one);
  await expect.poll(() => bodies).toHaveLength(1);
  await hook.close();
  expect(headers[0]).toMatchObject({ "content-type": "application/json" });
  expect(headers[0]).not.toHaveProperty("x-sluice-signature");
  return JSON.parse(bodies[0] ?? "") as unknown;
}

/** Slack docs, "Reference: blocks", "Composition objects: text". */
const mrkdwn = (longest: number) =>
  z.strictObject({ type: z.literal("mrkdwn"), text: z.string().min(1).max(longest) });
const slackMessage = z.strictObject({
  text: z.string(),
  blocks: z
    .array(
      z.union([
        z.strictObject({ type: z.literal("section"), text: mrkdwn(3_000) }),
        z.strictObject({ type: z.literal("section"), fields: z.array(mrkdwn(2_000)).min(1).max(10) }),
        z.strictObject({
          type: z.literal("context"),
          elements: z
            .array(z.strictObject({ type: z.literal("plain_text"), text: z.string().max(3_000) }))
            .max(10),
        }),
      ]),
    )
    .max(50),
});

test.each([alert, house])(
  "Slack gets a message that it takes, and no client's name writes a link or a mention",
  async (one) => {
    const message = slackMessage.parse(await posted(one, { format: "slack" }));
    const text = JSON.stringify(message);
    expect(text).not.toContain("<!channel>");
    expect(text).not.toContain("<https://evil");
    expect(text).not.toContain("\u202e");
    expect(text).toContain(one.next.what);
  },
);

/** PagerDuty docs, "Events API v2 Overview", "PD-CEF". */
const pagerDutyEvent = z.strictObject({
  routing_key: z.string().length(32),
  event_action: z.enum(["trigger", "acknowledge", "resolve"]),
  dedup_key: z.string().max(255),
  payload: z.strictObject({
    summary: z.string().min(1).max(1_024),
    source: z.string().min(1),
    severity: z.enum(["critical", "error", "warning", "info"]),
    timestamp: z.iso.datetime(),
    component: z.string(),
    group: z.string().optional(),
    class: z.string(),
    custom_details: z.record(z.string(), z.unknown()),
  }),
  client: z.string(),
  client_url: z.url().optional(),
  links: z.array(z.strictObject({ href: z.url(), text: z.string() })).optional(),
});

test("PagerDuty gets an event that it takes; what one rule sees of one user on a day is one incident", async () => {
  const options = { format: "pagerduty", routingKey: "r".repeat(32) } as const;
  const event = pagerDutyEvent.parse(await posted(alert, options));
  expect(event).toMatchObject({
    routing_key: "r".repeat(32),
    payload: {
      severity: "error",
      class: "dump",
      group: "agent",
      custom_details: { session: "s1", others: ["ben", "cleo"] },
    },
  });
  const again = pagerDutyEvent.parse(await posted({ ...alert, id: "a9", time: alert.time + 1 }, options));
  expect(again.dedup_key).toBe(event.dedup_key);
  const other = pagerDutyEvent.parse(await posted({ ...alert, rule: "sequence" }, options));
  expect(other.dedup_key).not.toBe(event.dedup_key);
  expect(pagerDutyEvent.parse(await posted(house, options)).payload.severity).toBe("critical");
});
