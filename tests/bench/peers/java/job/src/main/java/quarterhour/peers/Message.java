package quarterhour.peers;

import com.fasterxml.jackson.annotation.JsonIgnoreProperties;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.ObjectReader;
import java.io.IOException;
import java.time.Instant;
import java.util.Objects;

/** What the job needs of an event; `counts` says whether it is a message that sessions are made of. */
public final class Message {
    public String conversation;
    public long timeMs;
    public boolean counts;

    private static final ObjectReader READER = new ObjectMapper().readerFor(Event.class);

    /** Read one record's value, which leaves `conversation` open; one that lacks a field is an error. */
    public static Message of(byte[] value) throws IOException {
        Event event = READER.readValue(value);
        Data data = event.data;
        Message message = new Message();
        message.timeMs = Instant.parse(event.time).toEpochMilli();
        message.counts = event.type.equals("conversation.message.v1")
                && !Objects.requireNonNull(data.author).equals("agent")
                && !data.developer;
        Objects.requireNonNull(event.id);
        Objects.requireNonNull(data.account_id);
        Objects.requireNonNull(data.bot_id);
        return message;
    }

    @JsonIgnoreProperties(ignoreUnknown = true)
    static final class Event {
        public String id;
        public String type;
        public String time;
        public Data data;
    }

    @JsonIgnoreProperties(ignoreUnknown = true)
    static final class Data {
        public String account_id;
        public String bot_id;
        public String author;
        public boolean developer;
    }
}
