import { createHash } from "node:crypto";
import { type Alert, type Severity, summaryOf } from "./alert.ts";

/** How an alert is put for its receiver: all of them take JSON by POST. */
export type AlertFormat = "json" | "slack" | "pagerduty";

/** The text of a message. `routingKey` names the service in PagerDuty. */
export function messageOf(alert: Alert, format: AlertFormat, routingKey: string): string {
  switch (format) {
    case "json":
      return JSON.stringify({ kind: "alert", ...alert });
    case "slack":
      return JSON.stringify(slackMessage(alert));
    case "pagerduty":
      return JSON.stringify(pagerDutyEvent(alert, routingKey));
  }
}

const SLACK_SIGN: Readonly<Record<Severity, string>> = {
  critical: ":rotating_light:",
  high: ":red_circle:",
  medium: ":large_orange_circle:",
  low: ":large_yellow_circle:",
  info: ":information_source:",
};
/** Slack's own limits are 3,000 characters of a section and 2,000 of a field. */
const LONGEST_TEXT = 2_500;
const LONGEST_FIELD = 1_000;

/** A message of an incoming webhook (Slack docs, "Sending messages using incoming webhooks", "Block Kit"). */
function slackMessage(alert: Alert) {
  const { severity, next, console, id } = alert;
  const summary = cut(summaryOf(alert), LONGEST_TEXT);
  const fields = factsOf(alert).map(([name, value]) => ({
    type: "mrkdwn",
    text: `*${name}*\n${slackText(cut(value, LONGEST_FIELD))}`,
  }));
  return {
    text: slackText(summary),
    blocks: [
      { type: "section", text: { type: "mrkdwn", text: `${SLACK_SIGN[severity]} *${slackText(summary)}*` } },
      // A section has ten fields at most.
      ...(fields.length === 0 ? [] : [{ type: "section", fields: fields.slice(0, 10) }]),
      {
        type: "section",
        text: {
          type: "mrkdwn",
          text: `${slackText(next.what)}\n\`${slackText(cut(next.command, LONGEST_FIELD)).replaceAll("`", "'")}\``,
        },
      },
      ...(console === undefined
        ? []
        : [{ type: "section", text: { type: "mrkdwn", text: `<${slackText(console)}|Open the console>` } }]),
      { type: "context", elements: [{ type: "plain_text", text: `${severity}, ${id}` }] },
    ],
  };
}

/** Only these three characters mean something in Slack's text, where a client's name could write links and mentions. */
function slackText(text: string): string {
  return plain(text).replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");
}

const PAGERDUTY_SEVERITY: Readonly<Record<Severity, "critical" | "error" | "warning" | "info">> = {
  critical: "critical",
  high: "error",
  medium: "warning",
  low: "warning",
  info: "info",
};

/** An event of PagerDuty's Events API v2; what is seen of one user by one rule on one day is one incident. */
function pagerDutyEvent(alert: Alert, routingKey: string) {
  const { severity, time, rule, user = "", role, database, console, ...details } = alert;
  const day = new Date(time).toISOString().slice(0, 10);
  const name = JSON.stringify([database, role, user, rule, day]);
  return {
    routing_key: routingKey,
    event_action: "trigger",
    dedup_key: createHash("sha256").update(name).digest("hex"),
    payload: {
      // PagerDuty takes 1,024 characters.
      summary: cut(plain(summaryOf(alert)), 1_000),
      source: database ?? "sluice",
      severity: PAGERDUTY_SEVERITY[severity],
      timestamp: new Date(time).toISOString(),
      component: "sluice",
      ...(role !== undefined && { group: role }),
      class: rule,
      custom_details: { user, ...details },
    },
    client: "Sluice",
    ...(console !== undefined && {
      client_url: console,
      links: [{ href: console, text: "The console of Sluice" }],
    }),
  };
}

/** What a person wants to see first, as lines of a name and a value. */
function factsOf(alert: Alert): readonly (readonly [name: string, value: string])[] {
  const {
    account,
    application,
    client,
    session,
    reference,
    tables = [],
    shown = [],
    today,
    others = [],
  } = alert;
  return [
    ["Account", account],
    ["Application", application],
    ["Address", client],
    ["Session", session],
    ["Reference", reference],
    ["Tables", tables.join(", ")],
    ["In the clear", shown.join(", ")],
    ["People today", today && todayText(today)],
    ["Others of the role", others.join(", ")],
  ].flatMap(([name = "", value = ""]) => (value === "" ? [] : [[name, value] as const]));
}

function todayText({ people, newPeople, usualNewPeople, budget }: NonNullable<Alert["today"]>): string {
  return [
    `${people}, ${newPeople} of them new`,
    ...(usualNewPeople === undefined ? [] : [`usual: ${usualNewPeople} new`]),
    ...(budget === undefined ? [] : [`budget: ${budget}`]),
  ].join("; ");
}

function plain(text: string): string {
  return text.replaceAll(/[\p{Cc}\p{Cf}\u2028\u2029]+/gu, " ");
}

function cut(text: string, longest: number): string {
  return text.length <= longest ? text : `${text.slice(0, longest).replace(/[\ud800-\udbff]$/, "")}…`;
}
