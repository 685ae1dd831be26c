package byoc;

import com.amazonaws.ml.mms.util.ConfigManager;
import com.google.gson.JsonArray;
import com.google.gson.JsonObject;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.InvalidPathException;
import java.nio.file.Path;
import java.nio.file.Paths;
import java.nio.file.StandardCopyOption;
import java.util.ArrayList;
import java.util.Base64;
import java.util.List;
import java.util.SortedMap;
import java.util.TreeMap;

/**
 * The models of a multi-model endpoint: which are loaded, and whether there is room for one more.
 *
 * <p>multi-model-server would start processes of its own for every model, each with its own torch. Here all
 * models live in the same workers; what a worker holds follows from the file that is written after each change.
 */
final class Models {

    private static final int PAGE = 100;
    private static final int MAX_NAME = 1024;
    private static final long OVERHEAD = 4L << 20; // of one model in one worker, beside its weights

    /** A model; until `ready`, somebody is loading it. */
    static final class Entry {
        final String name;
        final String url;
        final long bytes;
        final String key;
        private boolean ready;

        Entry(String name, String url, Path folder, long bytes, long generation) {
            this.name = name;
            this.url = url;
            this.bytes = bytes;
            // What the worker gets: the number tells a model from another one that had its name before.
            byte[] path = folder.toString().getBytes(StandardCharsets.UTF_8);
            key = generation + " " + Base64.getEncoder().encodeToString(path);
        }

        JsonObject json() {
            JsonObject object = new JsonObject();
            object.addProperty("modelName", name);
            object.addProperty("modelUrl", url);
            return object;
        }
    }

    /** A request that cannot be met. */
    static final class Refused extends Exception {
        private static final long serialVersionUID = 1L;
        final int code;

        Refused(int code, String message) {
            super(message);
            this.code = code;
        }
    }

    final boolean enabled;
    private final Path root;
    private final Path live;
    private final long budget;
    private final int copies;
    private final SortedMap<String, Entry> entries = new TreeMap<>();
    private long generations;

    Models(ConfigManager config) {
        root = Paths.get(config.getProperty("byoc.models_root", ""));
        enabled = !root.toString().isEmpty();
        live = Paths.get(config.getProperty("byoc.models_live", ""));
        budget = Long.parseLong(config.getProperty("byoc.models_memory_mb", "0")) << 20;
        copies = Frontend.number(config, "byoc.workers");
    }

    /** Reserves the name and the memory. `ready` or `remove` must follow. */
    synchronized Entry begin(String name, String url) throws Refused {
        if (name.isEmpty() || name.length() > MAX_NAME) {
            throw new Refused(400, "model_name must have 1 to " + MAX_NAME + " characters");
        }
        if (entries.containsKey(name)) {
            throw new Refused(409, "a model of this name is loaded already; delete it first");
        }
        Path folder = folder(url);
        // OpenVINO keeps the weights twice: with batch normalisation folded in, and laid out for the processor.
        int times = Files.exists(folder.resolve("model.onnx")) ? 2 : 1;
        long bytes = OVERHEAD;
        try {
            bytes += times * Files.size(folder.resolve("model.safetensors"));
        } catch (IOException error) {
            throw new Refused(422, "the folder holds no model.safetensors");
        }
        long used = copies * bytes;
        for (Entry entry : entries.values()) {
            used += copies * entry.bytes;
        }
        if (used > budget) {
            throw new Refused(507, "this model would bring the models to " + (used >> 20) + " MB; the budget is "
                    + (budget >> 20) + " MB (BYOC_MODELS_MEMORY_MB); unload another model");
        }
        Entry entry = new Entry(name, url, folder, bytes, ++generations);
        entries.put(name, entry);
        publish();
        return entry;
    }

    synchronized void ready(Entry entry) {
        entry.ready = true;
    }

    synchronized void remove(Entry entry) {
        if (entries.remove(entry.name, entry)) {
            publish();
        }
    }

    /** Raises Refused 404. */
    synchronized Entry get(String name) throws Refused {
        Entry entry = entries.get(name);
        if (entry == null || !entry.ready) {
            throw new Refused(404, "no model of this name is loaded");
        }
        return entry;
    }

    /** One page of the list, in the order of names; the token is the place in it. */
    synchronized String list(String limit, String token) throws Refused {
        int first = parse(token, 0, 0, "next_page_token");
        int count = parse(limit, PAGE, 1, "limit");
        List<Entry> loaded = new ArrayList<>();
        entries.values().stream().filter(entry -> entry.ready).forEach(loaded::add);
        int end = (int) Math.min((long) first + count, loaded.size());
        JsonArray models = new JsonArray();
        for (int i = first; i < end; i++) {
            models.add(loaded.get(i).json());
        }
        JsonObject page = new JsonObject();
        page.add("models", models);
        if (end < loaded.size()) {
            page.addProperty("nextPageToken", String.valueOf(end));
        }
        return page.toString();
    }

    private static int parse(String text, int none, int low, String name) throws Refused {
        if (text == null) {
            return none;
        }
        try {
            int number = Integer.parseInt(text);
            if (number >= low) {
                return number;
            }
        } catch (NumberFormatException error) {
            // told below
        }
        throw new Refused(400, name + " must be a whole number of at least " + low);
    }

    /** Only a folder under the models folder; links are followed first. */
    private Path folder(String url) throws Refused {
        Path folder;
        try {
            folder = Paths.get(url).toRealPath();
            if (Paths.get(url).isAbsolute() && Files.isDirectory(folder)) {
                Path real = root.toRealPath();
                if (folder.startsWith(real) && !folder.equals(real)) {
                    return folder;
                }
            }
        } catch (IOException | InvalidPathException error) {
            // told below, in the same words: what lies elsewhere on this machine is nobody's business
        }
        throw new Refused(400, "url must be the absolute path of a folder in " + root);
    }

    private void publish() {
        StringBuilder text = new StringBuilder();
        entries.values().forEach(entry -> text.append(entry.key).append('\n'));
        try {
            Path aside = live.resolveSibling("live.new");
            Files.write(aside, text.toString().getBytes(StandardCharsets.US_ASCII));
            Files.move(aside, live, StandardCopyOption.ATOMIC_MOVE, StandardCopyOption.REPLACE_EXISTING);
        } catch (IOException error) {
            System.err.println("serve: cannot write the list of models: " + error.getMessage());
        }
    }
}
