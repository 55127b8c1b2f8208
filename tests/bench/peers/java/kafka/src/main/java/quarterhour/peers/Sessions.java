package quarterhour.peers;

import java.sql.Connection;
import java.sql.PreparedStatement;
import java.sql.SQLException;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;

/** The sessions of every conversation in memory, and those that changed since they were last written. */
public final class Sessions {
    private final Map<String, List<Row>> byConversation = new HashMap<>();
    private final Set<Row> changed = new HashSet<>();

    /** Take in one message; a session that a late one joins to another is left with no messages. */
    public void add(Message message) {
        List<Row> rows = byConversation.computeIfAbsent(message.conversation, key -> new ArrayList<>(1));
        Row found = null;
        for (Row row : rows) {
            if (takes(row, message.timeMs)) {
                found = found == null ? row : join(found, row);
            }
        }
        if (found == null) {
            found = new Row(message.conversation, message.timeMs, message.timeMs, message.timeMs, 0);
            rows.add(found);
        }
        found.startedMs = Math.min(found.startedMs, message.timeMs);
        found.endedMs = Math.max(found.endedMs, message.timeMs);
        found.messages++;
        changed.add(found);
    }

    /** Write what changed, in one transaction. */
    public void write(Connection connection) throws SQLException {
        try (PreparedStatement upsert = connection.prepareStatement(Row.UPSERT)) {
            for (Row row : changed) {
                row.bind(upsert);
                upsert.addBatch();
            }
            upsert.executeBatch();
        }
        connection.commit();
        changed.clear();
    }

    private static boolean takes(Row row, long timeMs) {
        return row.messages > 0
                && row.startedMs - Row.IDLE_MS <= timeMs
                && timeMs <= row.endedMs + Row.IDLE_MS;
    }

    private Row join(Row row, Row absorbed) {
        row.startedMs = Math.min(row.startedMs, absorbed.startedMs);
        row.endedMs = Math.max(row.endedMs, absorbed.endedMs);
        row.messages += absorbed.messages;
        absorbed.messages = 0;
        changed.add(absorbed);
        return row;
    }
}
