import type { EventDetails } from "../audit/person-events.ts";
import { minute, printable, table } from "./text.ts";

/** Single events, to look at one by one. */
export function eventsText(events: readonly EventDetails[]): string {
  if (events.length === 0) return "No event.\n";
  const rows = events.map((event) => [
    minute(event.time),
    printable(event.account === null ? event.user : `${event.user} by ${event.account}`),
    event.address,
    printable(event.application),
    event.people,
    event.classes === null ? "not recorded" : event.classes.join(",") || "nothing",
    `${event.writer}:${event.sequence}`,
    printable(event.statement).slice(0, 80),
  ]);
  return table([
    ["time", "user", "address", "application", "people", "in the clear", "event", "statement"],
    ...rows,
  ]);
}
