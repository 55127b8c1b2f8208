package quarterhour.peers;

import java.io.IOException;
import java.io.UncheckedIOException;
import java.sql.Connection;
import java.sql.DriverManager;
import java.time.Duration;
import java.util.Map;
import java.util.Properties;
import java.util.Set;
import org.apache.kafka.common.serialization.Serde;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.common.utils.Bytes;
import org.apache.kafka.streams.AutoOffsetReset;
import org.apache.kafka.streams.KafkaStreams;
import org.apache.kafka.streams.StreamsBuilder;
import org.apache.kafka.streams.StreamsConfig;
import org.apache.kafka.streams.Topology;
import org.apache.kafka.streams.errors.StreamsUncaughtExceptionHandler.StreamThreadExceptionResponse;
import org.apache.kafka.streams.kstream.Consumed;
import org.apache.kafka.streams.kstream.Grouped;
import org.apache.kafka.streams.kstream.Materialized;
import org.apache.kafka.streams.kstream.SessionWindows;
import org.apache.kafka.streams.kstream.Windowed;
import org.apache.kafka.streams.processor.api.ContextualFixedKeyProcessor;
import org.apache.kafka.streams.processor.api.ContextualProcessor;
import org.apache.kafka.streams.processor.api.FixedKeyRecord;
import org.apache.kafka.streams.processor.api.Processor;
import org.apache.kafka.streams.processor.api.ProcessorContext;
import org.apache.kafka.streams.processor.api.ProcessorSupplier;
import org.apache.kafka.streams.processor.api.Record;
import org.apache.kafka.streams.state.SessionStore;
import org.apache.kafka.streams.state.StoreBuilder;

/** The DSL's session windows, counted; their updates reach PostgreSQL within every commit of Kafka Streams. */
public final class KafkaStreamsPeer {
    private static final Duration IDLE = Duration.ofMillis(Row.IDLE_MS);
    /** Displaced copies come up to 40 minutes late. */
    private static final Duration GRACE = Duration.ofMinutes(60);
    /** Of record time, on top of the windows: by default the broker deletes the changelog of older events. */
    private static final Duration CHANGELOG_KEPT = Duration.ofDays(365);

    public static void main(String[] arguments) throws Exception {
        Task task = Task.of(arguments);
        Connection connection = DriverManager.getConnection(task.jdbcUrl());
        connection.setAutoCommit(false);
        KafkaStreams streams = new KafkaStreams(topology(task, connection, new Progress(task)), settings(task));
        streams.setUncaughtExceptionHandler(error -> StreamThreadExceptionResponse.SHUTDOWN_CLIENT);
        streams.start();
    }

    private static Topology topology(Task task, Connection connection, Progress progress) {
        StreamsBuilder builder = new StreamsBuilder();
        Consumed<String, Message> consumed = Consumed.with(Serdes.String(), messages())
                .withTimestampExtractor((record, partitionTime) -> ((Message) record.value()).timeMs)
                .withOffsetResetPolicy(AutoOffsetReset.earliest());
        builder.stream(task.topics(), consumed)
                .processValues(() -> new Counter(progress))
                .filter((key, message) -> message.counts)
                .groupByKey(Grouped.with(Serdes.String(), messages()))
                .windowedBy(SessionWindows.ofInactivityGapAndGrace(IDLE, GRACE))
                .count(Materialized.<String, Long, SessionStore<Bytes, byte[]>>as("sessions")
                        .withKeySerde(Serdes.String())
                        .withValueSerde(Serdes.Long()))
                .toStream()
                .process(new WriterSupplier(connection, progress));
        return builder.build();
    }

    private static Properties settings(Task task) {
        Properties settings = new Properties();
        settings.put(StreamsConfig.APPLICATION_ID_CONFIG, task.group());
        settings.put(StreamsConfig.BOOTSTRAP_SERVERS_CONFIG, task.brokers());
        settings.put(StreamsConfig.STATE_DIR_CONFIG, task.folder());
        settings.put(StreamsConfig.COMMIT_INTERVAL_MS_CONFIG, 1_000);
        settings.put(StreamsConfig.PROCESSING_GUARANTEE_CONFIG, System.getProperty("guarantee"));
        settings.put(
                StreamsConfig.WINDOW_STORE_CHANGE_LOG_ADDITIONAL_RETENTION_MS_CONFIG, CHANGELOG_KEPT.toMillis());
        return settings;
    }

    private static Serde<Message> messages() {
        return Serdes.serdeFrom(
                (topic, message) -> {
                    throw new UnsupportedOperationException("messages are only read");
                },
                (topic, value) -> {
                    try {
                        return Message.of(value);
                    } catch (IOException error) {
                        throw new UncheckedIOException(error);
                    }
                });
    }

    /** Counts what a task has seen. */
    private static final class Counter extends ContextualFixedKeyProcessor<String, Message, Message> {
        private final Progress progress;

        Counter(Progress progress) {
            this.progress = progress;
        }

        @Override
        public void process(FixedKeyRecord<String, Message> record) {
            progress.saw(context().taskId().partition());
            context().forward(record);
        }
    }

    /** Hands updates of sessions to the table of its task. */
    private static final class Writer extends ContextualProcessor<Windowed<String>, Long, Void, Void> {
        private SessionTable table;

        @Override
        public void init(ProcessorContext<Void, Void> context) {
            super.init(context);
            table = context.getStateStore(SessionTable.NAME);
        }

        @Override
        public void process(Record<Windowed<String>, Long> record) {
            table.put(record.key(), record.value());
        }
    }

    private record WriterSupplier(Connection connection, Progress progress)
            implements ProcessorSupplier<Windowed<String>, Long, Void, Void> {
        @Override
        public Processor<Windowed<String>, Long, Void, Void> get() {
            return new Writer();
        }

        @Override
        public Set<StoreBuilder<?>> stores() {
            return Set.of(new SessionTable.Builder(connection, progress));
        }
    }
}
