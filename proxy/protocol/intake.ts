/**
 * What the server does with the next message, as far as its answers tell (Postgres docs, 53.2.3 "Extended Query",
 * 53.2.4 "Pipelining", 53.2.6 "COPY Operations"):
 *
 *                Parse, Bind, Describe, Execute, Close
 *     ┌─────────┐ ─────────────────────────────► ┌────────────┐
 *     │ "ready" │                                │ "pipeline" │
 *     └─────────┘ ◄───────────────────────────── └────────────┘
 *        ▲   ▲  ▲        Sync, Query                 │  ▲   │
 *        │   │  │                                    │  │   │ CopyInResponse to an Execute
 *        │   │  └─ Sync ─ ┌────────────┐ ErrorResponse  │   ▼
 *        │   │            │ "skipping" │ ◄──────────┤  │ ┌──────────┐
 *        │   │            └────────────┘ ◄──────────│──│─│ "copyIn" │
 *        │   │                        ErrorResponse │  └─│          │ CopyDone, CopyFail
 *        │   └── CopyDone, CopyFail, ErrorResponse ─┼────│          │
 *        └────── CopyInResponse to a Query ─────────┼───►│          │
 *                                                   ▼    └──────────┘
 *                  (an ErrorResponse leads to "skipping" only if no Sync is outstanding)
 */
export type Intake = "ready" | "pipeline" | "skipping" | "copyIn";
