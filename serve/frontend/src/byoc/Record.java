package byoc;

import java.util.Locale;

/** What is known about one request in the end: a line of JSON on stdout, which the supervisor reads. */
final class Record {

    private static final boolean WANTED = Boolean.getBoolean("byoc.records");

    private final String path;
    private final long begin = System.nanoTime();
    private long complete = begin;
    private long bytes;

    Record(String path) {
        this.path = path;
    }

    void received(long size) {
        bytes = size;
        complete = System.nanoTime();
    }

    /**
     * @param parts what the worker said, the inside of a JSON object, or null if none was asked
     * @param worked milliseconds that the worker had the request in hand
     */
    void write(String id, int status, String parts, double worked) {
        if (!WANTED) {
            return;
        }
        long now = System.nanoTime();
        double waited = parts == null ? 0 : Math.max((now - complete) / 1e6 - worked, 0);
        String line = String.format(
                Locale.ROOT,
                "{\"id\":\"%s\",\"path\":\"%s\",\"status\":%d,\"bytes\":%d,\"total_ms\":%.2f,\"receive_ms\":%.2f,"
                        + "\"queue_ms\":%.2f%s}\n",
                id, path, status, bytes, (now - begin) / 1e6, (complete - begin) / 1e6, waited,
                parts == null ? "" : "," + parts);
        System.out.print(line);
        System.out.flush();
    }
}
