package quarterhour.peers;

import java.sql.PreparedStatement;
import java.sql.SQLException;

/** A session as it stands in PostgreSQL, where `openedMs` tells the sessions of a conversation apart. */
public final class Row {
    public static final long IDLE_MS = 900_000;
    public static final long BLOCK_MS = 900_000;
    public static final String UPSERT = """
            insert into session (conversation, opened_ms, started_ms, ended_ms, messages, blocks)
            values (?, ?, ?, ?, ?, ?)
            on conflict (conversation, opened_ms) do update
            set started_ms = excluded.started_ms, ended_ms = excluded.ended_ms,
                messages = excluded.messages, blocks = excluded.blocks""";

    public String conversation;
    public long openedMs;
    public long startedMs;
    public long endedMs;
    public int messages;

    public Row() {}

    public Row(String conversation, long openedMs, long startedMs, long endedMs, int messages) {
        this.conversation = conversation;
        this.openedMs = openedMs;
        this.startedMs = startedMs;
        this.endedMs = endedMs;
        this.messages = messages;
    }

    /** Fill in the parameters of UPSERT. */
    public void bind(PreparedStatement statement) throws SQLException {
        statement.setString(1, conversation);
        statement.setLong(2, openedMs);
        statement.setLong(3, startedMs);
        statement.setLong(4, endedMs);
        statement.setInt(5, messages);
        statement.setInt(6, (int) Math.max(1, (endedMs - startedMs + BLOCK_MS - 1) / BLOCK_MS));
    }
}
