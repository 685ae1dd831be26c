def compare_page(inputs):
    return ""
