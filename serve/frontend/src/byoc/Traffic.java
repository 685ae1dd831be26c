package byoc;

import com.amazonaws.ml.mms.util.ConfigManager;
import com.amazonaws.ml.mms.wlm.ModelManager;
import com.amazonaws.ml.mms.wlm.WorkerState;
import com.amazonaws.ml.mms.wlm.WorkerThread;
import io.netty.channel.Channel;
import java.lang.ref.Cleaner;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.concurrent.atomic.AtomicLong;

/** What all connections share: the limits, the counts of what is under way, and whether we are leaving. */
final class Traffic {

    static final String MODEL = "model";

    final int maxBytes;
    final int timeoutSeconds; // for a body to arrive
    final String batchParameters;
    final Models models;
    volatile boolean draining;

    private final long memory;
    private final AtomicInteger requests = new AtomicInteger();
    private final AtomicLong bytes = new AtomicLong();
    private final AtomicLong abandoned = new AtomicLong();
    private final Cleaner cleaner = Cleaner.create();
    private volatile long lastCollection = System.nanoTime();

    Traffic(ConfigManager config) {
        maxBytes = config.getMaxRequestSize();
        timeoutSeconds = Frontend.number(config, "byoc.timeout");
        batchParameters = config.getProperty("byoc.execution_parameters", "{}");
        models = new Models(config);
        // A body lies in this memory up to three times: as received, as one array, as sent to the worker.
        memory = Math.max(Runtime.getRuntime().maxMemory() / 4, maxBytes);
    }

    boolean workerReady() {
        for (WorkerThread worker : ModelManager.getInstance().getWorkers(MODEL)) {
            if (worker.getState() == WorkerState.WORKER_MODEL_LOADED) {
                return true;
            }
        }
        return false;
    }

    void enter() {
        requests.incrementAndGet();
    }

    void leave() {
        requests.decrementAndGet();
    }

    /** Room for a body of so many bytes; if granted, `release` must follow. */
    boolean reserve(long size) {
        if (bytes.addAndGet(size) > memory) {
            bytes.addAndGet(-size);
            long now = System.nanoTime();
            if (abandoned.get() > 0 && now - lastCollection > 100_000_000L) {
                lastCollection = now;
                System.gc();
            }
            return false;
        }
        return true;
    }

    /**
     * The client has gone, and its request still waits for a worker or is in one's hands. Nobody tells when that
     * ends: netty no longer calls the connection's handlers. But until then the job holds on to `holder`, so
     * that its memory is free when the holder is garbage.
     */
    void abandon(Object holder, long size) {
        abandoned.addAndGet(size);
        cleaner.register(holder, () -> {
            abandoned.addAndGet(-size);
            release(size);
        });
    }

    void release(long size) {
        bytes.addAndGet(-size);
    }

    /** Accepts no new connection, and returns when every request that was accepted has its answer. */
    void drain(Channel listener, int seconds) {
        draining = true;
        listener.close().syncUninterruptibly();
        long end = System.nanoTime() + seconds * 1_000_000_000L;
        int quiet = 0;
        while (quiet < 10 && System.nanoTime() < end) { // 0.2 s: a request may still lie in a socket
            quiet = requests.get() == 0 ? quiet + 1 : 0;
            try {
                Thread.sleep(20);
            } catch (InterruptedException stop) {
                return;
            }
        }
    }
}
