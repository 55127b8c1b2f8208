package quarterhour.peers;

import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.List;
import java.util.Optional;
import java.util.stream.Stream;
import org.apache.flink.api.common.eventtime.WatermarkStrategy;
import org.apache.flink.api.common.functions.AggregateFunction;
import org.apache.flink.api.common.typeinfo.TypeInformation;
import org.apache.flink.configuration.CheckpointingOptions;
import org.apache.flink.configuration.Configuration;
import org.apache.flink.configuration.ExternalizedCheckpointRetention;
import org.apache.flink.configuration.PipelineOptions;
import org.apache.flink.configuration.StateRecoveryOptions;
import org.apache.flink.connector.jdbc.JdbcConnectionOptions.JdbcConnectionOptionsBuilder;
import org.apache.flink.connector.jdbc.JdbcExecutionOptions;
import org.apache.flink.connector.jdbc.core.datastream.sink.JdbcSink;
import org.apache.flink.connector.kafka.source.KafkaSource;
import org.apache.flink.connector.kafka.source.enumerator.initializer.OffsetsInitializer;
import org.apache.flink.connector.kafka.source.reader.deserializer.KafkaRecordDeserializationSchema;
import org.apache.flink.streaming.api.environment.StreamExecutionEnvironment;
import org.apache.flink.streaming.api.functions.windowing.ProcessWindowFunction;
import org.apache.flink.streaming.api.windowing.assigners.EventTimeSessionWindows;
import org.apache.flink.streaming.api.windowing.windows.TimeWindow;
import org.apache.flink.util.Collector;
import org.apache.kafka.clients.consumer.ConsumerRecord;

/** Event-time session windows on heap, in a cluster of one slot within this process, up to the ends of the topics. */
public final class FlinkPeer {
    private static final Duration IDLE = Duration.ofMillis(Row.IDLE_MS);
    /** Displaced copies come up to 40 minutes late. */
    private static final Duration DISORDER = Duration.ofMinutes(45);
    private static final Duration CHECKPOINTS = Duration.ofSeconds(2);

    public static void main(String[] arguments) throws Exception {
        Task task = Task.of(arguments);
        Optional<String> checkpoint = latestCheckpoint(task.path());
        StreamExecutionEnvironment environment =
                StreamExecutionEnvironment.createLocalEnvironment(1, settings(task, checkpoint));
        environment
                .fromSource(source(task, checkpoint.isPresent()), watermarks(), "events")
                .filter(message -> message.counts)
                .keyBy(message -> message.conversation)
                .window(EventTimeSessionWindows.withGap(IDLE))
                .aggregate(new Count(), new ToRow())
                .sinkTo(sink(task));
        environment.execute();
        Task.tell("done");
    }

    private static Configuration settings(Task task, Optional<String> checkpoint) {
        Configuration settings = new Configuration();
        settings.set(PipelineOptions.OBJECT_REUSE, true);
        settings.set(CheckpointingOptions.CHECKPOINTING_INTERVAL, CHECKPOINTS);
        settings.set(CheckpointingOptions.CHECKPOINTS_DIRECTORY, task.path().toUri().toString());
        settings.set(
                CheckpointingOptions.EXTERNALIZED_CHECKPOINT_RETENTION,
                ExternalizedCheckpointRetention.RETAIN_ON_CANCELLATION);
        checkpoint.ifPresent(path -> settings.set(StateRecoveryOptions.SAVEPOINT_PATH, path));
        return settings;
    }

    /** The last checkpoint that an earlier run completed there: JOB/chk-NUMBER/_metadata. */
    private static Optional<String> latestCheckpoint(Path folder) throws IOException {
        try (Stream<Path> files = Files.walk(folder, 3)) {
            return files.filter(path -> path.endsWith("_metadata"))
                    .max(Comparator.comparing(path -> path.toFile().lastModified()))
                    .map(path -> path.getParent().toUri().toString());
        }
    }

    /**
     * All topics up to their ends.
     *
     * A restored source reads the partitions of its checkpoint, but says that they have ended only if the
     * subscription has changed: without that, a restored job would wait for ever with its last windows open.
     */
    private static KafkaSource<Message> source(Task task, boolean restored) {
        List<String> topics = new ArrayList<>(task.topics());
        if (restored) {
            topics.remove(topics.size() - 1);
        }
        return KafkaSource.<Message>builder()
                .setBootstrapServers(task.brokers())
                .setGroupId(task.group())
                .setTopics(topics)
                .setStartingOffsets(OffsetsInitializer.earliest())
                .setBounded(OffsetsInitializer.latest())
                .setDeserializer(new Reader())
                .build();
    }

    private static WatermarkStrategy<Message> watermarks() {
        return WatermarkStrategy.<Message>forBoundedOutOfOrderness(DISORDER)
                .withTimestampAssigner((message, recordMs) -> message.timeMs);
    }

    private static JdbcSink<Row> sink(Task task) {
        return JdbcSink.<Row>builder()
                .withQueryStatement(Row.UPSERT, (statement, row) -> row.bind(statement))
                .withExecutionOptions(
                        JdbcExecutionOptions.builder().withBatchSize(1_000).withBatchIntervalMs(1_000).build())
                .buildAtLeastOnce(new JdbcConnectionOptionsBuilder()
                        .withUrl(task.jdbcUrl())
                        .withDriverName("org.postgresql.Driver")
                        .build());
    }

    private static final class Reader implements KafkaRecordDeserializationSchema<Message> {
        private transient boolean began;

        @Override
        public void deserialize(ConsumerRecord<byte[], byte[]> record, Collector<Message> out) throws IOException {
            if (!began) {
                began = true;
                Task.tell("first");
            }
            Message message = Message.of(record.value());
            message.conversation = new String(record.key(), StandardCharsets.UTF_8);
            out.collect(message);
        }

        @Override
        public TypeInformation<Message> getProducedType() {
            return TypeInformation.of(Message.class);
        }
    }

    private static final class Count implements AggregateFunction<Message, Integer, Integer> {
        @Override
        public Integer createAccumulator() {
            return 0;
        }

        @Override
        public Integer add(Message message, Integer count) {
            return count + 1;
        }

        @Override
        public Integer getResult(Integer count) {
            return count;
        }

        @Override
        public Integer merge(Integer one, Integer other) {
            return one + other;
        }
    }

    private static final class ToRow extends ProcessWindowFunction<Integer, Row, String, TimeWindow> {
        @Override
        public void process(String key, Context context, Iterable<Integer> counts, Collector<Row> out) {
            long startedMs = context.window().getStart();
            long endedMs = context.window().getEnd() - Row.IDLE_MS;
            out.collect(new Row(key, startedMs, startedMs, endedMs, counts.iterator().next()));
        }
    }
}
