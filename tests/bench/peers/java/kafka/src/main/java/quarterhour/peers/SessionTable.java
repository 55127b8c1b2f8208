package quarterhour.peers;

import java.sql.Connection;
import java.sql.PreparedStatement;
import java.sql.SQLException;
import java.util.HashMap;
import java.util.Map;
import org.apache.kafka.streams.kstream.Windowed;
import org.apache.kafka.streams.processor.StateStore;
import org.apache.kafka.streams.processor.StateStoreContext;
import org.apache.kafka.streams.state.StoreBuilder;
import org.apache.kafka.streams.state.internals.CacheFlushListener;
import org.apache.kafka.streams.state.internals.CachedStateStore;

/**
 * The table of sessions as a store of Kafka Streams, which flushes caches before it commits offsets.
 *
 * A processor has no hook there, so this is one by an internal interface. It is connected to the last processor
 * only and so comes after the store of sessions, whose cache has been flushed to it by then.
 */
final class SessionTable implements StateStore, CachedStateStore<String, Long> {
    static final String NAME = "session-table";
    /** What an aborted transaction or an earlier flush has left of sessions that are part of this one now. */
    private static final String DELETE =
            "delete from session where conversation = ? and opened_ms > ? and opened_ms <= ?";

    private final Connection connection;
    private final Progress progress;
    private final Map<Opening, Row> changed = new HashMap<>();
    private int partition;

    private record Opening(String conversation, long startedMs) {}

    SessionTable(Connection connection, Progress progress) {
        this.connection = connection;
        this.progress = progress;
    }

    /** Take in an update of a session; without a count it is one that grew or was joined to another. */
    void put(Windowed<String> session, Long messages) {
        long startedMs = session.window().start();
        long endedMs = session.window().end();
        Opening opening = new Opening(session.key(), startedMs);
        if (messages != null) {
            changed.put(opening, new Row(session.key(), startedMs, startedMs, endedMs, messages.intValue()));
        } else if (changed.containsKey(opening) && changed.get(opening).endedMs == endedMs) {
            changed.remove(opening);
        }
    }

    @Override
    public void flushCache() {
        try {
            write();
            connection.commit();
        } catch (SQLException error) {
            throw new IllegalStateException(error);
        }
        changed.clear();
        progress.wrote(partition);
    }

    private void write() throws SQLException {
        try (PreparedStatement delete = connection.prepareStatement(DELETE);
                PreparedStatement upsert = connection.prepareStatement(Row.UPSERT)) {
            for (Row row : changed.values()) {
                delete.setString(1, row.conversation);
                delete.setLong(2, row.startedMs);
                delete.setLong(3, row.endedMs);
                delete.addBatch();
                row.bind(upsert);
                upsert.addBatch();
            }
            delete.executeBatch();
            upsert.executeBatch();
        }
    }

    @Override
    public void init(StateStoreContext context, StateStore root) {
        partition = context.taskId().partition();
        context.register(root, (key, value) -> {});
    }

    @Override
    public boolean setFlushListener(CacheFlushListener<String, Long> listener, boolean sendOldValues) {
        return false;
    }

    @Override
    public void clearCache() {}

    @Override
    public String name() {
        return NAME;
    }

    @Override
    public void flush() {}

    @Override
    public void close() {}

    @Override
    public boolean persistent() {
        return false;
    }

    @Override
    public boolean isOpen() {
        return true;
    }

    /** One table for each task. */
    record Builder(Connection connection, Progress progress) implements StoreBuilder<SessionTable> {
        @Override
        public SessionTable build() {
            return new SessionTable(connection, progress);
        }

        @Override
        public StoreBuilder<SessionTable> withCachingEnabled() {
            return this;
        }

        @Override
        public StoreBuilder<SessionTable> withCachingDisabled() {
            return this;
        }

        @Override
        public StoreBuilder<SessionTable> withLoggingEnabled(Map<String, String> config) {
            return this;
        }

        @Override
        public StoreBuilder<SessionTable> withLoggingDisabled() {
            return this;
        }

        @Override
        public Map<String, String> logConfig() {
            return Map.of();
        }

        @Override
        public boolean loggingEnabled() {
            return false;
        }

        @Override
        public String name() {
            return NAME;
        }
    }
}
