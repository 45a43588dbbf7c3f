import type { Coverage } from "../audit/coverage.ts";
import type { EventDetails } from "../audit/person-events.ts";
import { coverageText } from "./audit-coverage-text.ts";
import { minute, printable, table } from "./text-table.ts";

/** Single events in which people of one name space were read, to look at one by one. */
export interface EventsAnswer {
  readonly namespace: string;
  readonly events: readonly EventDetails[];
  readonly notCovered: Coverage;
}

export function eventsText({ namespace, events, notCovered }: EventsAnswer): string {
  const found = events.length === 0 ? `No event names them as people of ${namespace}.\n` : tableOf(events);
  return `${found}\n${coverageText(notCovered)}`;
}

function tableOf(events: readonly EventDetails[]): string {
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
